//! Configuration files: the verdict, the digest and the texts of the real server's `-t`.
//!
//! Only files whose settings both know: what dialtone refuses on purpose stands in COMPAT.md.

mod public_files;
mod settings;

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::Which;

/// Files that both accept, so that the digests are compared.
const VALID: [&str; 17] = [
    "port: 4222",
    "server_name: -10ms\nserver_tags: [a, -10ms, -10k]",
    "cluster { port: -1, compression { mode: s2_auto, rtt_thresholds: [-10ms, 10ms] } }",
    "# comment\nport\n4222 // the value may follow later",
    "{ \"port\": -1, \"host\": \"127.0.0.1\", \"server_tags\": [\"a\", \"b\",], }",
    "{ port: 4222\n",
    "port: 4222\n}\n",
    "PORT = 4222; Ping_Interval 1m30s, max_payload: 1mb\nmax_pending: 128m",
    "server_metadata: {a: \"<x>&\\t\\x08\u{e9}\\x0c\", 'b' = c#d, e: \"\u{2028}\"}",
    "A: 1.2.3.4:-1\nlisten: $A",
    "server_metadata { F: 5m5, D: $F, \"\": a'\n }",
    "server_name: (\nraw\n)\nport: 1",
    "authorization { user: a, password: $2a$11$abc, timeout: 0.0000001 }",
    "P = { publish: \"a.>\", subscribe { allow: [ b, 'q  v.*' ]\n deny = c } }\n\
     authorization { PASS: x, users = [\n {user: a, pass: $PASS, permission: $P}\n\
     {nkey: UA3M3XWP6GRYCTWSS6GAH3LP7LDN7HC6HX4CUWP27PKCCC5OPK6FW7MX} ] // users\n}",
    "accounts [A, B]",
    "A_PASS: x, authorization { users: [{user: c}] }, no_auth_user: a\n\
     accounts { A { users: [{user: a, password: $A_PASS}] }, B {}, C { users: [] } }",
    "trace: no, debug on\nwrite_timeout: retry; http_port: -1\nmax_subs: 0",
];

/// Files that both refuse, so that the texts are compared.
const REFUSED: [&str; 28] = [
    "",
    "a { b",
    "a {\n'b",
    "a {\n\"b",
    "\u{feff}port: 4222",
    "port: 4222 debug: true\n",
    "cluster{ name: x }",
    "port: 4222\nserver_tags: [a b]\n",
    "port:\n4222",
    "server_name: \"a\\q\"",
    "server_name: -x",
    "server_name: 12-1",
    "server_name: -10-1",
    "port: [a,,b]",
    "http { : 1 }",
    "include nothing.conf",
    "port: $DIALTONE_TEST_NOT_SET",
    "a: { b\n 1 }\n  bogus: 1\n\"foo\": 1\nA: x\nB: $A",
    "server_name: \"a b\"\nlisten: \"0.0.0.0:x\"\nhttp: \"x\"\nmax_payload: 2gb",
    "max_sub_tokens: 256\nwrite_timeout: x\nwrite_deadline: 5mb5",
    "lame_duck_duration: \"10.5s\"\nlame_duck_grace_period: \"-1s\"",
    "ping_interval: 2",
    "authorization { user: a, token: b}",
    "accounts { $G {}, A: 5 }",
    "accounts [A, B, A]",
    "accounts { A { users: [{user: a, bog: 1}], bog: 2 } }",
    "authorization { timeout: 61, bog: 1, users: [{user: a, bog: 2}]}",
    "authorization { users: [{user: a, permissions: {publish: {bog: 1}, x: 1}}]}",
];

/// Blocks of mappings that both accept.
const MAPPINGS_VALID: [&str; 18] = [
    "mappings {}",
    "mappings { f: g }",
    "maps { f: \"g.h\", \"a.*\": \"b.$1\" }",
    "mappings { f: [ {dest: g, weight: 50}, {destination: h, weight: \"25%\"} ] }",
    "mappings { f: {dest: g, weight: 100%, cluster: C} }",
    "mappings { f: {DEST: g, Weight: \"+5\", cluster: \"\"} }",
    "mappings { f: [], g: null }",
    "mappings { \">\": \"pre.>\", \"a.*.>\": \"$1.>\" }",
    "mappings { \"f.*\": \"o.{{partition(3,1)}}.{{ Left ( 1 , 2 ) }}\", g: \"{{random(4)}}\" }",
    "mappings { \"h.*\": \"{{split(1,-)}}.{{slicefromright(1,2)}}.$x.a$1.{{}}.{{left(1,2)\" }",
    "mappings { \"h.*.*\": \"{{partition(10)}}.{{partition(10,2,1)}}.{{wildcard(2)}}\" }",
    "mappings { f: [ {dest: g, weight: 25}, {dest: f, weight: 25} ] }",
    "mappings { f: [ {dest: g, weight: 60}, {dest: h, weight: 60, cluster: C} ] }",
    "mappings { f: g, g: f }\nmaps { f: h }",
    "mappings { \"a.$1\": {dest: b, weight: 100} }",
    "mappings { \"f.$1.*\": {dest: b, weight: 50}, \"a.{{partition(3)}}\": [] }",
    "accounts { A { mappings { f: g } }, B { maps { f: g }, mappings { f: h } } }",
    "mappings { f: g }, accounts { $SYS { users: [{user: s, password: s}] } }",
];

/// Blocks of mappings that both refuse.
const MAPPINGS_REFUSED: [&str; 34] = [
    "mappings { \"f..a\": x }",
    "\n  mappings {\n \"f..a\": x\n  \"f b\": y }",
    "mappings { \"f.*\": \"x.$2\" }",
    "\nmappings {\n  \"f.*\": \"x.$2\"\n}",
    "mappings { f: [ {dest: a, weight: 60}, {dest: b, weight: 60} ] }",
    "mappings { f: {dest: a, weight: 101} }",
    "\nmappings {\n f: {dest: a,\n  weight: -1} }",
    "mappings { f: {dest: a, weight: \"x\"} }",
    "mappings { f: {dest: a, weight: \"50%%\"} }",
    "mappings { f: {dest: a, weight: 50.5} }",
    "mappings { f: [a, b] }",
    "mappings { f: 5, g: true }",
    "mappings { X: 5, f: $X }",
    "mappings { f: {dest: a, weight: 5, bog: 1} }",
    "mappings { f: {dest: a} }",
    "mappings { f: [ {dest: a, weight: 10}, {dest: a, weight: 10} ] }",
    "mappings { f: [ {dest: a, weight: 10}, {dest: a, weight: 10, cluster: C} ] }",
    "mappings { f: \"a.{{foo(1)}}\" }",
    "mappings { \"f.*\": \"a.{{wildcard()}}\" }",
    "mappings { \"f.*\": \"a.{{wildcard(1,2)}}\", \"g.*\": \"a.{{wildcard(a)}}\" }",
    "mappings { \"f.*\": {dest: \"x.{{split(1)}}\", weight: 10} }",
    "mappings { f: \"a.{{left(1,2)}}\" }",
    "mappings { f: \"a..b\" }",
    "mappings { f: \"x.>.y\" }",
    "mappings { f: \"a b\" }",
    "mappings { f: \"x.*\" }",
    "mappings { \"f.>\": \"x\", f: \"x.>\" }",
    "mappings { \"f.*\": \"{{random(1,2)}}\", \"g.*\": \"{{SPLIT(1,-)}}\" }",
    "accounts { A { mappings { \"f.*\": \"$2\" } } }",
    "mappings { \"a.$1\": {dest: b, weight: 50} }",
    "mappings { \"a.$1\": {dest: b, weight: 100, cluster: C} }",
    "mappings { \"a.$1\": [{dest: \"a.$1\", weight: 10}] }",
    "mappings { \"a.{{foo}}\": [] }",
    "accounts { A { maps { \"f.*\": [{dest: \"$1\", weight: 1}, {dest: \"$2\", weight: 1}] } } }",
];

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn the_check_says_what_the_real_server_says() {
    let [real, ours] = [Which::Real, Which::Dialtone].map(Which::executable);
    let folder = TempDir::new().unwrap();
    let all_valid = [&VALID[..], &MAPPINGS_VALID].concat();
    for text in all_valid.iter().chain(&REFUSED).chain(&MAPPINGS_REFUSED) {
        fs::write(folder.path().join("c.conf"), text).unwrap();
        let (valid, said) = checked(real, folder.path());
        assert_eq!(valid, all_valid.contains(text), "{text}\n{said}");
        let (ours_valid, we_said) = checked(ours, folder.path());
        assert_eq!(ours_valid, valid, "{text}\n{we_said}");
        // The real server reports settings in the order of a hash map.
        assert_eq!(sorted_lines(without_position(&we_said)), sorted_lines(&said), "{text}");
    }
}

/// Whoever begins with one of these files can go back to the real server with it.
#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn the_real_server_takes_the_files_in_conf() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in fs::read_dir(root.join("conf")).unwrap().map(|entry| entry.unwrap().path()) {
        let mut check = Command::new(Which::Real.executable());
        // There are the certificates that one of them names.
        check.current_dir(root.join("tests/it/tls")).arg("-t").arg("-c").arg(&file);
        let output = check.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

pub(crate) fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

/// The verdict of a server on `c.conf` in this folder, and whether it takes it.
pub(crate) fn checked(server: &Path, folder: &Path) -> (bool, String) {
    let output =
        Command::new(server).args(["-t", "-c", "c.conf"]).current_dir(folder).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said.trim_start_matches("nats-server: ").to_owned())
}

/// The text without its position: dialtone adds one to errors that end the reading at once.
fn without_position(text: &str) -> &str {
    ["Parse error", "variable reference", "error parsing include"]
        .iter()
        .find_map(|begin| text.find(begin))
        .map_or(text, |at| &text[at..])
}
