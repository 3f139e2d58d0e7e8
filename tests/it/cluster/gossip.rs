//! Gossip about a newcomer: its receivers, its time, and its connection.
//!
//! A test plays the other servers; the same lines go to both kinds.

use serde_json::{Value, json};

use super::handshake::alone;
use crate::support::remote::server_id;
use crate::support::{Remote, Server};

/// The connections of a server that pools, in some order.
const ALL: [Place; 4] = [Place::System, Place::Pool(0), Place::Pool(1), Place::Pool(2)];

/// One connection of a played server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Of the pool, by its index.
    Pool(usize),
    /// The one for `$SYS`.
    System,
    /// The only one of a server without a pool.
    Only,
}

impl Place {
    /// The fields of INFO for it.
    fn members(self) -> Value {
        match self {
            Place::Pool(index) => json!({"route_pool_size": 3, "route_pool_idx": index}),
            Place::System => json!({"route_pool_size": 3, "route_account": "$SYS"}),
            Place::Only => json!({}),
        }
    }

    fn is_of_pool(self) -> bool {
        self != Place::System
    }
}

/// The server `name`, of which a test opens one connection after the other.
struct Played {
    name: String,
    connections: Vec<(Place, Remote)>,
}

impl Played {
    fn join(server: &Server, name: &str, places: &[Place]) -> Played {
        let mut played = Played { name: name.to_owned(), connections: Vec::new() };
        places.iter().for_each(|&place| played.open(server, place));
        played
    }

    /// Opens one more connection and waits until it belongs to the cluster.
    fn open(&mut self, server: &Server, place: Place) {
        self.connections.push((place, Remote::join_with(server, &self.name, &place.members())));
    }

    /// The gossip about `newcomer` since the last call: the connection, and the account that is
    /// meant.
    fn told_of(&mut self, newcomer: &str) -> Vec<(Place, Option<String>)> {
        let mut told = Vec::new();
        for (place, remote) in &mut self.connections {
            for line in remote.fence() {
                let Some(json) = line.strip_prefix("INFO ") else { continue };
                let info: Value = serde_json::from_str(json).unwrap();
                assert_eq!(info["server_id"], server_id(newcomer), "{info}");
                assert_eq!((&info["ip"], &info["gossip_mode"]), (&json!(ADDRESS), &json!(1)));
                told.push((*place, info["route_account"].as_str().map(str::to_owned)));
            }
        }
        told
    }
}

/// The address of all played servers, as they give it.
const ADDRESS: &str = "nats-route://127.0.0.1:1/";

/// The gossip to a server at these places when a newcomer, of which `known` is there already,
/// comes to another one.
fn wanted(places: &[Place], known: &[Place], comes: Place) -> Vec<(Place, Option<String>)> {
    let Some(&first) = places.iter().find(|place| place.is_of_pool()) else {
        let told = (comes == Place::System).then(|| (Place::System, Some("$SYS".to_owned())));
        return told.into_iter().collect();
    };
    if comes.is_of_pool() {
        let is_first = !known.iter().any(|place| place.is_of_pool());
        return if is_first { vec![(first, None)] } else { Vec::new() };
    }
    match first {
        Place::Only => Vec::new(),
        _ if places.contains(&Place::System) => vec![(Place::System, Some("$SYS".to_owned()))],
        _ => vec![(first, Some("$SYS".to_owned()))],
    }
}

/// All orders of the connections of one server.
fn orders() -> Vec<Vec<Place>> {
    let mut orders = vec![Vec::new()];
    for _ in ALL {
        let longer = orders.iter().flat_map(|order| {
            let missing = ALL.into_iter().filter(|place| !order.contains(place));
            missing.map(|place| [&**order, &[place]].concat())
        });
        orders = longer.collect();
    }
    orders
}

for_both! {
    /// Whatever connection of a newcomer is the first, the others hear of its pool. When `$SYS` was
    /// the first they did not, and never dialled it.
    fn a_newcomer_is_told_of_in_whatever_order_it_connects(which) {
        let server = alone("").start(which);
        let _bystander = Played::join(&server, "bystander", &ALL);
        for (round, places) in [&ALL[..], &ALL[1..], &ALL[..1], &[Place::Only]].iter().enumerate() {
            for (number, order) in orders().into_iter().enumerate() {
                let mut earlier = Played::join(&server, &format!("e{round}.{number}"), places);
                let name = format!("n{round}.{number}");
                let mut newcomer = Played::join(&server, &name, &[]);
                for (known, &comes) in order.iter().enumerate() {
                    newcomer.open(&server, comes);
                    let told = earlier.told_of(&name);
                    let wanted = wanted(places, &order[..known], comes);
                    assert_eq!(told, wanted, "{places:?} {order:?} {comes:?}");
                }
            }
        }
    }

    /// A connection for `$SYS` is told of only once another server has one, too: else all of them
    /// are still to come, and each will be told of.
    fn the_first_dedicated_connection_is_not_told_of(which) {
        let server = alone("").start(which);
        let mut earlier = Played::join(&server, "earlier", &ALL[1..]);
        let mut newcomer = Played::join(&server, "newcomer", &ALL[..1]);
        assert_eq!(earlier.told_of("newcomer"), []);
        let system = Some("$SYS".to_owned());
        earlier.open(&server, Place::System);
        assert_eq!(newcomer.told_of("earlier"), [(Place::System, system.clone())]);
        let _third = Played::join(&server, "third", &ALL[..1]);
        assert_eq!(earlier.told_of("third"), [(Place::System, system)]);
    }

    /// Nor is a newcomer without a pool kept from anybody.
    fn a_newcomer_without_a_pool_is_told_of(which) {
        let server = alone("").start(which);
        let mut earlier = Played::join(&server, "earlier", &ALL);
        let _newcomer = Played::join(&server, "newcomer", &[Place::Only]);
        assert_eq!(earlier.told_of("newcomer"), [(Place::Pool(0), None)]);
    }
}
