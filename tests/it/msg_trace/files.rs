//! Files with destinations of traces: the verdict of the real server's `-t`, with its texts.

use std::fs;

use tempfile::TempDir;

use crate::configuration::{checked, sorted_lines};
use crate::support::Which;

/// Settings of an account, on line 3. Both servers say the same.
const SAME: [&str; 16] = [
    "msg_trace: a.b",
    "trace_dest: a.b",
    "msg_trace: {dest: a.b}",
    "msg_trace: {dest: a.b, sampling: 5}",
    "msg_trace: {DEST: a.b, Sampling: \"5%\"}",
    "msg_trace: {dest: a.b, sampling: \"5\"}",
    "msg_trace: {}",
    "msg_trace: \"a.*\"",
    "msg_trace: \"a b\"",
    "msg_trace: \"\"",
    "msg_trace: {dest: a..b}",
    "msg_trace: {dest: a, sampling: 101}",
    "msg_trace: {dest: a, sampling: 0}",
    "msg_trace: {dest: a, sampling: \"x%\"}",
    "trace_dest: {dest: a, foo: 1}",
    "msg_trace: {sampling: 5}",
];

/// Both servers refuse these; types have other names there.
const REFUSED: [(&str, &str); 3] = [
    (
        "msg_trace: 5",
        "3:5: Expected account message trace \"msg_trace\" to be a string or a map/struct, got \
         integer",
    ),
    ("msg_trace: {dest: 5}", "3:17: Field \"dest\" should be a string, got integer"),
    (
        "msg_trace: {dest: a, sampling: true}",
        "3:26: Trace destination sampling field \"sampling\" should be an integer or a \
         percentage, got bool",
    ),
];

#[test]
#[cfg_attr(not(nats_server), ignore = "needs nats-server, then touch build.rs")]
fn faults_have_the_real_servers_texts() {
    let folder = TempDir::new().unwrap();
    let verdicts = |setting: &str| {
        let text = format!("port: -1\naccounts {{ A {{\n    {setting}\n}} }}\n");
        fs::write(folder.path().join("c.conf"), text).unwrap();
        [Which::Real, Which::Dialtone].map(|which| checked(which.executable(), folder.path()))
    };
    for setting in SAME {
        let [(valid, said), (ours_valid, we_said)] = verdicts(setting);
        assert_eq!(ours_valid, valid, "{setting}\n{we_said}{said}");
        assert_eq!(sorted_lines(&we_said), sorted_lines(&said), "{setting}");
    }
    for (setting, expected) in REFUSED {
        let [(valid, said), (_, we_said)] = verdicts(setting);
        assert!(!valid, "{setting}\n{said}");
        assert_eq!(we_said.trim_end(), format!("c.conf:{expected}"));
    }
}
