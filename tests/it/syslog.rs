//! The log in a system log: played by the tests, over each kind of socket.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::support::{Client, PATIENCE, Server};

/// A line with its digits made 9, but for those of its level, and with a name in place of the
/// program's.
fn masked(line: &str, server: &Server) -> String {
    let program = server.which().executable().file_name().unwrap().to_str().unwrap();
    let (level, rest) = line.split_once('>').unwrap();
    let rest = rest.replace(&format!("{program}[{}]", server.pid()), "PROGRAM[PID]");
    let nine = |c: char| if c.is_ascii_digit() { '9' } else { c };
    format!("{level}>{}", rest.chars().map(nine).collect::<String>())
}

/// The next datagram with this text in it.
#[track_caller]
fn datagram(socket: &UdpSocket, text: &str) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 2000];
    loop {
        let len = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let line = String::from_utf8_lossy(&bytes[..len]).into_owned();
        if line.contains(text) {
            return line;
        }
    }
}

fn udp() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", socket.local_addr().unwrap());
    (socket, url)
}

/// This machine's name.
fn machine() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect()
}

for_both! {
    fn of_another_machine(which) {
        let (socket, url) = udp();
        let server = Server::with().flags(["-D", "-r", &url]).log_to_file().start(which);
        let line = datagram(&socket, "Server is ready");
        assert!(line.ends_with('\n'), "{line:?}");
        let line = masked(line.trim_end(), &server);
        let (start, end) = line.split_once(&machine()).unwrap();
        assert_eq!(end, " PROGRAM[PID]: Server is ready");
        let stamp = start.strip_prefix("<5>9999-99-99T99:99:99").unwrap();
        assert!(["Z ", "+99:99 ", "-99:99 "].contains(&stamp), "{stamp}");
        let mut client = Client::connect(&server, "");
        let line = datagram(&socket, "Client connection created");
        assert!(line.starts_with("<7>") && line.contains("]: 127.0.0.1:"), "{line}");
        client.send("-ERR 'x'\r\n");
        assert!(datagram(&socket, "Client Error 'x'").starts_with("<3>"));
        server.signal("USR1");
        datagram(&socket, "File log re-open ignored, not a file logger");
        assert_eq!(server.log_lines(), [""; 0], "nothing on standard error");
    }

    fn by_tcp(which) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let server = Server::with().conf(format!("remote_syslog: \"{url}\"")).log_to_file();
        let server = server.start(which);
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("Server is ready")).unwrap();
        assert!(masked(&line, &server).ends_with(" PROGRAM[PID]: Server is ready"), "{line}");
    }

    fn by_a_socket_of_this_machine(which) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let listener = UnixListener::bind(&path).unwrap();
        let url = format!("unix://{}", path.display());
        let server = Server::with().flags(["-r", &url]).log_to_file().start(which);
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("Server is ready")).unwrap();
        let line = masked(&line, &server);
        let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
        let (month, rest) = line.strip_prefix("<5>").unwrap().split_once(' ').unwrap();
        assert!(months.contains(month), "{line}");
        let days = ["99", " 9"].map(|day| format!("{day} 99:99:99 PROGRAM[PID]: Server is ready"));
        assert!(days.contains(&rest.to_owned()), "{line}");
    }

    fn a_file_goes_before_it(which) {
        let (socket, url) = udp();
        let flags = ["-s", "-r", &url, "-l", "server.log"];
        let mut server = Server::with().flags(flags).log_to_file().start(which);
        server.signal("TERM");
        server.wait_exit();
        let text = std::fs::read_to_string(server.dir().join("server.log")).unwrap();
        assert!(text.contains("[INF] Server Exiting.."), "{text}");
        socket.set_nonblocking(true).unwrap();
        socket.recv(&mut [0]).unwrap_err();
    }

    fn a_reload_moves_it(which) {
        let [(first, one), (second, other)] = [udp(), udp()];
        let conf = |url| format!("remote_syslog: \"{url}\"\n");
        let server = Server::with().conf(conf(&one)).log_to_file().start(which);
        datagram(&first, "Server is ready");
        std::fs::write(server.dir().join("server.conf"), conf(&other)).unwrap();
        server.signal("HUP");
        datagram(&first, &format!("Reloaded: remote_syslog = {other}"));
        datagram(&second, "Reloaded server configuration");
    }

    fn what_is_no_system_log_ends_the_start(which) {
        let folder = tempfile::tempdir().unwrap();
        let nobody = format!("unix://{}/nobody", folder.path().display());
        let mut cases = vec![
            (vec!["-r", "http://127.0.0.1:1"], "error invalid network type: \"http\"".to_owned()),
            (vec!["-r", &nobody], "no such file or directory".to_owned()),
        ];
        let own = ["/dev/log", "/var/run/syslog", "/var/run/log"].map(Path::new);
        if !own.iter().any(|path| path.exists()) {
            let text = "error connecting to syslog: \"Unix syslog delivery error\"";
            cases.push((vec!["-s"], text.to_owned()));
        }
        for (flags, text) in cases {
            let args = ["-a", "127.0.0.1", "-p", "-1"].iter().chain(&flags);
            let output = Command::new(which.executable()).args(args).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains(&text), "{told}");
            assert_eq!(output.status.code(), Some(1));
        }
    }
}
