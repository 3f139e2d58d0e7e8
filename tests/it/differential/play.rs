//! Plays a conversation to a server, and writes down what everybody hears.

use std::collections::BTreeMap;

use super::configuration::Configuration;
use super::conversation::{Conversation, Step};
use crate::support::{Client, Server, Which};

/// What is said and heard in each step, in a form in which two servers that do the same agree: the
/// frames of a client are sorted, and a member of a queue group stands for its group.
pub(super) fn play(
    configuration: &Configuration,
    conversation: &Conversation,
    which: Which,
) -> Vec<String> {
    let server = Server::with().conf(configuration.to_string()).start(which);
    let members = |name: &str| {
        format!("\"user\":\"{name}\",\"pass\":\"p\",\"headers\":true,\"no_responders\":true")
    };
    let connect = |name: &str| Client::connect(&server, &members(name)).steady();
    let names: Vec<&str> = configuration.users().map(|user| user.name.as_str()).collect();
    let mut clients: Vec<Client> = names.iter().map(|name| connect(name)).collect();
    let step = |Step { client, lines }: &Step| {
        let mut text = format!("{}> {}\n", names[*client], lines.escape_debug());
        clients[*client].send(lines);
        let mut groups = BTreeMap::<String, usize>::new();
        // Whoever has spoken is asked first: then the message is with all others.
        let order = [*client].into_iter().chain((0..names.len()).filter(|at| at != client));
        for at in order {
            let mut heard = Vec::new();
            for frame in frames(&mut clients[at]) {
                match in_group(&frame) {
                    Some(frame) => *groups.entry(frame).or_default() += 1,
                    None => heard.push(frame),
                }
            }
            heard.sort();
            heard.iter().for_each(|frame| text.push_str(&format!("  {}< {frame}\n", names[at])));
        }
        groups.iter().for_each(|(frame, n)| text.push_str(&format!("  {n} members< {frame}\n")));
        text
    };
    conversation.steps.iter().map(step).collect()
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
