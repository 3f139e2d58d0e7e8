//! Heads in both directions. `tests/it/monitor_port.rs` compares them with the real server.

use std::time::Duration;

use super::*;

fn read<Head: AsRef<[u8]> + ?Sized>(head: &Head) -> Result<RequestHead, Rejected> {
    RequestHead::read(head.as_ref(), |_, _| ()).map(|(request, _)| request)
}

fn get(target: &str) -> Option<(String, String)> {
    let request = read(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).ok()?;
    Some((request.path, request.query))
}

#[test]
fn the_end_of_a_head_is_found_wherever_it_is_cut() {
    for head in ["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\nA: b\n\n"] {
        let input = [head, "X\r\n\r\n"].concat().into_bytes();
        for cut in 0..head.len() {
            assert_eq!(head_len(&input[..cut], 0), None);
            assert_eq!(head_len(&input, cut), Some(head.len()), "{cut}");
        }
    }
}

#[test]
fn targets_have_a_path_and_a_query() {
    let pair = |path: &str, query: &str| Some((path.to_owned(), query.to_owned()));
    assert_eq!(get("/a?b?c#d"), pair("/a", "b?c#d"));
    assert_eq!(get("/%41%2f"), pair("/%41%2f", ""));
    assert_eq!(get("/>%41?>"), pair("/%3EA", ">"));
    assert_eq!(get("http://h:1/a?b"), pair("/a", "b"));
    assert_eq!(get("http://h"), pair("", ""));
    for refused in ["/%4", "/\u{7f}", "a", "", "1:/a", "*"] {
        assert_eq!(get(refused), None, "{refused}");
    }
}

#[test]
fn a_connection_is_kept_where_the_next_request_can_be_found() {
    for (lines, kept) in [
        ("GET / HTTP/1.1\r\nHost: x", true),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: a, close", false),
        ("GET / HTTP/1.0", false),
        ("GET / HTTP/1.0\r\nconnection: Keep-Alive", true),
        ("CONNECT h:1 HTTP/1.1", false),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5", true),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-Continue", false),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked", false),
    ] {
        assert_eq!(read(&format!("{lines}\r\n\r\n")).unwrap().keep_alive, kept, "{lines}");
    }
}

#[test]
fn many_header_lines_are_too_many() {
    let lines = |count: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert!(read(&lines(HEADERS_MAX)).is_ok());
    assert_eq!(read(&lines(HEADERS_MAX + 1)), Err(Rejected::TooLarge));
}

/// An answer of two pieces.
fn answer(head: &str) -> (String, bool) {
    let request = read(head).unwrap();
    let headers = vec![("A", "b".into())];
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_227_495);
    let mut writer = AnswerWriter::new(&request, AnswerHead { status: 200, headers }, date);
    let mut bytes = Vec::new();
    writer.write(b"first", false, &mut bytes);
    writer.write(b"0123456789abcdef", true, &mut bytes);
    (String::from_utf8(bytes).unwrap(), writer.keep_alive())
}

#[test]
fn an_answer_in_pieces_says_where_it_ends() {
    let start = "200 OK\r\nA: b\r\nDate: Sat, 21 Nov 2026 02:18:15 GMT\r\n";
    let (text, keep_alive) = answer("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let chunks = "5\r\nfirst\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    assert_eq!(text, format!("HTTP/1.1 {start}{chunked}{chunks}"));
    assert!(keep_alive);
    let (text, keep_alive) = answer("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(text, format!("HTTP/1.0 {start}\r\nfirst0123456789abcdef"));
    assert!(!keep_alive);
    let (text, _) = answer("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(text, format!("HTTP/1.1 {start}{chunked}"));
}

#[test]
fn whatever_comes_is_read_or_rejected() {
    let heads = [
        "GET //a%2fb>?c=d%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST http://h:1/a HTTP/1.0\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
        "CONNECT h:1 HTTP/1.1\nTransfer-Encoding: chunked\n\n",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut read_count = 0;
    for _ in 0..20_000 {
        let mut head = heads[random.usize(..heads.len())].as_bytes().to_vec();
        for _ in 0..random.usize(..4) {
            let at = random.usize(..head.len());
            let byte = *random.choice(b"\r\n :/%?*+\x00\xff19aH").unwrap();
            match random.u8(..3) {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                _ => drop(head.remove(at)),
            }
        }
        match read(&head) {
            Ok(request) => {
                read_count += 1;
                assert!(request.path.is_ascii());
                assert!(matches!(&*request.path, "" | "*") || request.path.starts_with('/'));
            }
            Err(rejected) => assert!(rejected.answer().starts_with("HTTP/1.1 ")),
        }
    }
    assert!(read_count > 1000, "{read_count}");
}
