//! Files that are not taken over: all settings stay, whatever else has changed.

use crate::support::{Client, Server, tls};

/// The settings that both servers begin with.
const BEFORE: &str = "max_payload: 100, server_name: n
cluster { name: c, listen: \"127.0.0.1:-1\" }
websocket { listen: \"127.0.0.1:-1\", no_tls: true }\n";

for_both! {
    fn what_cannot_change_is_named(which) {
        let server = Server::with().conf(BEFORE).start(which);
        let mut client = Client::connect(&server, "");
        for (change, reason) in [
            ("server_name: other", "ServerName: old=n, new=other"),
            ("max_pending: 1000000", "MaxPending: old=67108864, new=1000000"),
            ("max_subscriptions: 7", "MaxSubs: old=0, new=7"),
            ("max_sub_tokens: 7", "MaxSubTokens: old=0, new=7"),
            ("max_closed_clients: 7", "MaxClosedClients: old=10000, new=7"),
            ("no_header_support: true", "NoHeaderSupport: old=false, new=true"),
            ("http: \"127.0.0.2:8222\"", "HTTPHost: old=127.0.0.1, new=127.0.0.2"),
            ("http: 8222", "HTTPPort: old=0, new=8222"),
            (&format!("https: 8222\n{}", tls::conf("")), "HTTPSPort: old=0, new=8222"),
            ("http_base_path: \"/x\"", "HTTPBasePath: old=, new=/x"),
            ("write_timeout: retry", "WriteTimeout: old=, new=retry"),
            ("lame_duck_duration: \"40s\"", "LameDuckDuration: old=2m0s, new=40s"),
            ("lame_duck_grace_period: \"5s\"", "LameDuckGracePeriod: old=10s, new=5s"),
            ("logfile_size_limit: 7", "LogSizeLimit: old=0, new=7"),
            ("logfile_max_num: 7", "LogMaxFiles: old=0, new=7"),
            ("no_system_account: true", "NoSystemAccount: old=false, new=true"),
            ("accounts { X {} }, system_account: X", "SystemAccount: old=, new=X"),
            ("allow_non_tls: true", "AllowNonTLS: old=false, new=true"),
            (
                "authorization { users: [{ user: u, password: p }] }, no_auth_user: u",
                "NoAuthUser: old=, new=u",
            ),
        ] {
            let conf = format!("{BEFORE}max_payload: 10\n{change}\n");
            let text = format!("config reload not supported for {reason}");
            assert_eq!(server.reload(&conf).err().as_ref(), Some(&text), "{change}");
        }
        client.send("PUB a 11\r\nhello world\r\n");
        client.fence();
    }

    fn a_file_that_is_wrong_changes_nothing(which) {
        let server = Server::with().conf("max_payload: 100\n").start(which);
        let mut client = Client::connect(&server, "");
        for (conf, reason) in [
            ("max_payload: 10\nbogus: 1\n", "server.conf:2:1: unknown field \"bogus\""),
            (
                "max_payload: 10\naccounts { A { users: [{ user: a }, { user: a }] } }\n",
                "Duplicate user \"a\" detected",
            ),
            (
                "max_payload: 70000000\n",
                "max_payload (70000000) cannot be higher than max_pending (67108864)",
            ),
        ] {
            let text = server.reload(conf).unwrap_err();
            assert!(text.contains(reason), "{conf}: {text}");
        }
        client.send("PUB a 11\r\nhello world\r\n");
        client.fence();
    }

    /// Certificates that cannot be read are a reason, too.
    fn a_certificate_that_is_missing_changes_nothing(which) {
        let server = Server::with().conf("max_payload: 100\n").start(which);
        let conf = "max_payload: 10\ntls { cert_file: \"/none.pem\", key_file: \"/none.key\" }\n";
        let text = server.reload(conf).unwrap_err();
        assert!(text.contains("error parsing X509 certificate/key pair"), "{text}");
        let mut client = Client::connect(&server, "");
        client.send("PUB a 11\r\nhello world\r\n");
        client.fence();
    }

    /// A port is free to be chosen, and the choice is made.
    fn a_free_port_stays_where_it_is(which) {
        let server = Server::with().conf(BEFORE).start(which);
        let chosen = [server.route_port(), server.websocket_port()];
        server.reload(&format!("{BEFORE}max_payload: 10\n")).unwrap();
        let [routes, websocket] = chosen;
        let named = BEFORE.replacen(":-1", &format!(":{routes}"), 1);
        let named = named.replacen(":-1", &format!(":{websocket}"), 1);
        server.reload(&named).unwrap();
        Client::connect(&server, "").fence();
    }
}
