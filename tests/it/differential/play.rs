//! Plays a conversation to a server or to a cluster, and writes down what everybody hears.

use std::collections::BTreeMap;

use serde_json::Value;

use super::configuration::{Configuration, WITNESS};
use super::conversation::{Conversation, Step};
use crate::support::{Client, Server, Which, http};

/// Plays to servers of these kinds, which form a cluster if they are several; the clients are
/// spread over them. Returns all that is said and heard, by step, in a form in which servers that
/// do the same agree: the frames of a client are sorted, and a member of a queue group stands for
/// its group.
pub(super) fn play(
    configuration: &Configuration,
    conversation: &Conversation,
    kinds: &[Which],
) -> Vec<String> {
    let mut stage = Stage::build(configuration, kinds);
    conversation.steps.iter().map(|step| stage.play(step)).collect()
}

/// The servers, and the clients of the conversation with their names.
struct Stage<'a> {
    _servers: Vec<Server>,
    clients: Vec<(&'a str, Client)>,
    /// One client at each server of a cluster.
    witnesses: Vec<Client>,
    fences: usize,
}

impl<'a> Stage<'a> {
    fn build(configuration: &'a Configuration, kinds: &[Which]) -> Stage<'a> {
        let mut servers: Vec<Server> = Vec::new();
        for &which in kinds {
            let mut conf = configuration.to_string();
            if kinds.len() > 1 {
                let url = |server: &Server| format!("nats://127.0.0.1:{}", server.route_port());
                let routes: Vec<String> = servers.iter().map(url).collect();
                // A single connection keeps the order of all that goes from one to the other.
                conf.push_str(&format!(
                    "cluster {{ name: C, listen: \"127.0.0.1:-1\", pool_size: -1
                       routes: {routes:?} }}"
                ));
            }
            servers.push(Server::with().conf(conf).monitored().start(which));
        }
        for server in &servers {
            http::json_until(server, "/routez", |page| page["num_routes"] == servers.len() - 1);
        }
        let members = |name: &str| {
            format!("\"user\":\"{name}\",\"pass\":\"p\",\"headers\":true,\"no_responders\":true")
        };
        let connect = |server, name| Client::connect(server, &members(name));
        let users = configuration.users().zip(servers.iter().cycle());
        let clients = users.map(|(user, server)| (&*user.name, connect(server, &user.name)));
        let clients = clients.collect();
        let witness = |server| {
            let mut witness = connect(server, WITNESS);
            witness.send("SUB fence 1\r\n");
            witness.fence();
            witness
        };
        let cluster = if servers.len() > 1 { &servers[..] } else { &[] };
        let witnesses = cluster.iter().map(witness).collect();
        for server in cluster {
            let knows = |page: &Value| page.to_string().contains("\"fence");
            http::json_until(server, "/routez?subs=detail", knows);
        }
        Stage { _servers: servers, clients, witnesses, fences: 0 }
    }

    fn play(&mut self, Step { client, lines }: &Step) -> String {
        let (name, speaker) = &mut self.clients[*client];
        let mut text = format!("{name}> {}\n", lines.escape_debug());
        speaker.send(lines);
        let said = frames(speaker);
        self.fence();
        let mut groups = BTreeMap::<String, usize>::new();
        let mut said = Some(said);
        for at in 0..self.clients.len() {
            let (name, listener) = &mut self.clients[at];
            let mut heard = said.take_if(|_| at == *client).unwrap_or_default();
            heard.extend(frames(listener));
            heard.retain(|frame| match in_group(frame) {
                Some(frame) => {
                    *groups.entry(frame).or_default() += 1;
                    false
                }
                None => true,
            });
            heard.sort();
            heard.iter().for_each(|frame| text.push_str(&format!("  {name}< {frame}\n")));
        }
        groups.iter().for_each(|(frame, n)| text.push_str(&format!("  {n} members< {frame}\n")));
        text
    }

    /// Waits until each server of a cluster knows what any other has said so far.
    fn fence(&mut self) {
        for from in 0..self.witnesses.len() {
            self.fences += 1;
            let mark = format!("{:08}", self.fences);
            self.witnesses[from].send(&format!("PUB fence 8\r\n{mark}\r\n"));
            for witness in &mut self.witnesses {
                witness.expect(&format!("MSG fence 1 8\r\n{mark}\r\n"));
            }
        }
    }
}

/// All that a client has got so far.
fn frames(client: &mut Client) -> Vec<String> {
    client.send("PING\r\n");
    let mut frames = Vec::new();
    loop {
        let frame = client.frame().escape_ascii().to_string();
        if frame == "PONG\\r\\n" {
            return frames;
        }
        frames.push(without_choice(frame));
    }
}

/// The notice that nobody got a request comes on any of the subscriptions that match.
fn without_choice(frame: String) -> String {
    if !frame.contains("NATS/1.0 503") {
        return frame;
    }
    let mut words: Vec<&str> = frame.split(' ').collect();
    words[2] = "any";
    words.join(" ")
}

/// The frame of a member of a group, with the group in place of the member.
fn in_group(frame: &str) -> Option<String> {
    let mut words: Vec<&str> = frame.split(' ').collect();
    let (group, _) = words.get(2)?.split_once('-')?;
    words[2] = group;
    Some(words.join(" "))
}
