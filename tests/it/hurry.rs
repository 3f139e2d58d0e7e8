//! Clients that write each message by itself, as fast as they can.

use crate::support::{Client, Server};

/// Enough of them for a server to notice.
const COUNT: usize = 30_000;

/// Publishes numbers, each by itself.
fn publish_numbers(publisher: &mut Client) {
    for number in 0..COUNT {
        publisher.send(&format!("PUB numbers 5\r\n{number:05}\r\n"));
    }
}

fn expect_numbers(subscriber: &mut Client) {
    for number in 0..COUNT {
        subscriber.expect(&format!("MSG numbers 1 5\r\n{number:05}\r\n"));
    }
}

for_both! {
    fn all_arrives_in_order(which) {
        let server = Server::start(which);
        let mut subscriber = Client::subscribed(&server, "numbers");
        let mut publisher = Client::connect(&server, "");
        publish_numbers(&mut publisher);
        expect_numbers(&mut subscriber);
        publisher.fence();
        publish_numbers(&mut publisher);
        expect_numbers(&mut subscriber);
    }

    fn what_was_sent_before_the_end_arrives(which) {
        let server = Server::start(which);
        let mut subscriber = Client::subscribed(&server, "numbers");
        let mut publisher = Client::connect(&server, "");
        publish_numbers(&mut publisher);
        drop(publisher);
        expect_numbers(&mut subscriber);
    }

    /// It is hurried, but waits for each of its hundred.
    fn who_asks_without_end_is_answered(which) {
        let server = Server::start(which);
        let mut service = Client::subscribed(&server, "ask");
        let mut asker = Client::subscribed(&server, "answers");
        for _ in 0..COUNT / 100 {
            for _ in 0..100 {
                asker.send("PUB ask answers 0\r\n\r\n");
            }
            for _ in 0..100 {
                service.expect("MSG ask 1 answers 0\r\n\r\n");
                service.send("PUB answers 0\r\n\r\n");
            }
            for _ in 0..100 {
                asker.expect("MSG answers 1 0\r\n\r\n");
            }
        }
    }
}
