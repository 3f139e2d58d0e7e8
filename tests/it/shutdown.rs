//! SIGTERM and SIGINT: what is pending goes out, connections end without a word, exit code 0.

use crate::support::{Client, Server, lasting_port};

for_both! {
    fn term_and_int_end_with_code_0(which) {
        for signal in ["TERM", "INT"] {
            let mut server = Server::start(which);
            let mut client = Client::connect(&server, "");
            server.signal(signal);
            client.expect_closed();
            assert_eq!(server.wait_exit().code(), Some(0), "{signal}");
            server.wait_log("Initiating Shutdown...");
            server.wait_log("Server Exiting..");
        }
    }

    fn the_port_is_free_at_once(which) {
        let port = lasting_port();
        let server = Server::with().port(port).start(which);
        let mut client = Client::connect(&server, "");
        assert_eq!(server.stop().code(), Some(0));
        client.expect_closed();
        let again = Server::with().port(port).start(which);
        assert_eq!(again.port(), port);
        Client::connect(&again, "").fence();
    }

    /// A message that was accepted before the signal reaches a subscriber that reads late.
    fn what_is_pending_is_flushed(which) {
        const COUNT: usize = 200;
        let mut server = Server::start(which);
        let mut subscriber = Client::subscribed(&server, "pending");
        let mut publisher = Client::connect(&server, "");
        let message = format!("PUB pending 100\r\n{}\r\n", "x".repeat(100));
        publisher.send(&message.repeat(COUNT));
        publisher.fence();
        server.signal("TERM");
        let received = subscriber.read_to_end();
        assert_eq!(crate::support::frames::split(&received).len(), COUNT);
        assert_eq!(server.wait_exit().code(), Some(0));
    }
}
