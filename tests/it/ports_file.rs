//! The ports file: how a test, or a script, learns the ports that a server took.

use crate::support::{Client, Server};

for_both! {
    fn lists_the_urls(which) {
        let server = Server::with().monitored().start(which);
        let path = server.ports_file().expect("readiness means that it is written");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let executable = which.executable();
        let executable = executable.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, format!("{executable}_{}.ports", server.pid()));
        let ports: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(ports["nats"][0], server.url());
        let monitoring = format!("http://127.0.0.1:{}", server.monitor_port());
        assert_eq!(ports["monitoring"][0], monitoring);
        assert_eq!(ports.as_object().unwrap().len(), 2, "{ports}");
        Client::connect(&server, "").fence();
    }

    fn is_gone_after_the_end(which) {
        let mut server = Server::start(which);
        let path = server.ports_file().unwrap();
        server.signal("TERM");
        server.wait_exit();
        assert!(!path.exists());
    }
}
