//! A generated conversation: what the clients of a configuration send, one after the other.

use fastrand::Rng;

use super::configuration::Configuration;
use super::subjects;

/// Steps of a conversation.
const STEPS: usize = 60;

/// Sids that clients give their subscriptions: few, so that some are used twice, and some end.
const SIDS: u8 = 6;

/// One client for each user, in the order of the configuration.
pub(super) struct Conversation {
    pub(super) steps: Vec<Step>,
}

/// Lines of one client. Among them is one message at most, so that its order among others does not
/// matter.
pub(super) struct Step {
    pub(super) client: usize,
    pub(super) lines: String,
}

/// The conversation that there may be.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// Known difference: in a cluster, a group whose chosen member may not have a message loses it
    /// there, and here not. And a message for a group that spans accounts has the subject of the
    /// chosen member.
    pub(super) groups: bool,
    /// Known difference: there, the limit of a subscription does not count imported messages.
    pub(super) limits: bool,
}

impl Conversation {
    pub(super) fn draw(
        random: &mut Rng,
        configuration: &Configuration,
        scope: Scope,
    ) -> Conversation {
        let count = configuration.users().count();
        let mut steps = Vec::new();
        for client in 0..count {
            for line in ["SUB in.> in\r\n", "SUB > all\r\n"] {
                if random.u8(..3) == 0 {
                    steps.push(Step { client, lines: line.to_owned() });
                }
            }
        }
        for number in 0..STEPS {
            let client = random.usize(..count);
            steps.push(Step { client, lines: lines(random, number, scope) });
        }
        Conversation { steps }
    }
}

/// A subscription, its end, or a message.
fn lines(random: &mut Rng, number: usize, scope: Scope) -> String {
    match random.u8(..10) {
        0 | 1 => format!("SUB {} {}\r\n", subjects::pattern(random), random.u8(..SIDS)),
        2 if scope.groups => {
            let queue = ["q", "w"][random.usize(..2)];
            format!("SUB {} {queue} {queue}-{number}\r\n", subjects::pattern(random))
        }
        3 => {
            let max = ["", " 1", " 2", " 3"][random.usize(..4)];
            let max = if scope.limits { max } else { "" };
            format!("UNSUB {}{max}\r\n", random.u8(..SIDS))
        }
        _ => message(random, number),
    }
}

/// A message, perhaps with a reply or with headers.
fn message(random: &mut Rng, number: usize) -> String {
    let subject = match random.u8(..10) {
        // An answer to an earlier message.
        0 | 1 => format!("in.{}", random.usize(..number.max(1))),
        _ => subjects::literal(random),
    };
    let reply = match random.u8(..3) {
        0 => format!("in.{number} "),
        _ => String::new(),
    };
    let payload = format!("m{number}");
    match random.u8(..5) {
        0 => {
            let headers = "NATS/1.0\r\nK: v\r\n\r\n";
            let (header_len, len) = (headers.len(), headers.len() + payload.len());
            format!("HPUB {subject} {reply}{header_len} {len}\r\n{headers}{payload}\r\n")
        }
        _ => format!("PUB {subject} {reply}{}\r\n{payload}\r\n", payload.len()),
    }
}
