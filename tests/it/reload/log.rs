//! The log, and the files for other programs, after a reload.

use std::fs;

use crate::support::{Client, Server};

for_both! {
    fn debug_and_trace_come_and_go(which) {
        let server = Server::with().conf("debug: false\n").start(which);
        let mut client = Client::connect(&server, "\"name\":\"early\"");
        client.send("SUB early 1\r\n");
        client.fence();
        server.reload("debug: true, trace: true\n").unwrap();
        client.send("SUB traced 1\r\n");
        server.wait_log("<<- [SUB traced 1]");
        drop(client);
        server.wait_log("Client connection closed: Client Closed");
        server.reload("debug: false\n").unwrap();
        let mut late = Client::connect(&server, "");
        late.send("SUB late 1\r\n");
        late.fence();
        server.reload("debug: true, trace: true\n").unwrap();
        late.send("SUB again 1\r\n");
        server.wait_log("[SUB again 1]");
        let lines = server.log_lines();
        let has = |text: &str| lines.iter().any(|line| line.contains(text));
        assert!(!has("[SUB early 1]") && !has("[SUB late 1]"), "{lines:#?}");
    }

    fn files_move(which) {
        let server = Server::with().conf("max_payload: 100\n").start(which);
        let place = |name: &str| server.dir().join(name);
        fs::create_dir(place("ports")).unwrap();
        let conf = |log: &str| {
            let [pid, log] = [place("pid"), place(log)];
            format!("pid_file: {pid:?}, log_file: {log:?}, logtime: false\n")
        };
        // The log tells its end no more to who reads standard error.
        fs::write(place("server.conf"), conf("one.log")).unwrap();
        server.signal("HUP");
        let text = |name: &str| fs::read_to_string(place(name)).unwrap_or_default();
        let wait = |name: &str, wanted: &str| {
            while !text(name).contains(wanted) {
                std::thread::yield_now();
            }
        };
        wait("one.log", "Reloaded server configuration");
        assert_eq!(text("pid"), server.pid().to_string());
        fs::write(place("server.conf"), conf("two.log")).unwrap();
        server.signal("HUP");
        wait("two.log", "Reloaded server configuration");
        assert!(text("one.log").contains("Reloaded: log_file = "), "{}", text("one.log"));
        let first = text("two.log").lines().next().unwrap().to_owned();
        assert!(first.starts_with(&format!("[{}] [INF] ", server.pid())), "{first}");
        Client::connect(&server, "").fence();
    }
}
