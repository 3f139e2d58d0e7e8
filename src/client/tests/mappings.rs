//! Messages of clients come on mapped subjects.

use super::*;
use crate::config::options::{MappingDestination, SubjectMapping};

fn to(source: &str, destination: &str, weight: u8) -> SubjectMapping {
    SubjectMapping::new(source).with(MappingDestination::new(destination).weight(weight))
}

/// A subscriber to everything and a publisher.
fn mapped(mappings: &[SubjectMapping]) -> Bench {
    let options = Options { mappings: mappings.to_vec(), ..Options::default() };
    assert_eq!(options.check(), Ok(()));
    let mut bench = Bench::new(options, 2);
    for (at, lines) in ["SUB > 1\r\n", ""].iter().enumerate() {
        bench.send(at, format!("{QUIET}{lines}").as_bytes());
    }
    bench
}

/// The subjects on which a message for each of these arrives.
fn heard(bench: &mut Bench, subjects: &[&str]) -> Vec<String> {
    let input: String = subjects.iter().map(|subject| format!("PUB {subject} 0\r\n\r\n")).collect();
    bench.send(1, input.as_bytes());
    let subject = |line: &str| Some(line.strip_prefix("MSG ")?.split(' ').next()?.to_owned());
    text(bench, 0).split('|').filter_map(subject).collect()
}

#[test]
fn a_row_on_a_mapped_subject_shares_a_match() {
    for (weight, match_count) in [(100, 1), (0, 1), (50, 10)] {
        let mut bench = mapped(&[to("old", "new", weight)]);
        let before = bench.delivery.counters.num_matches.load();
        assert_eq!(heard(&mut bench, &["old"; 10]).len(), 10);
        assert_eq!(bench.delivery.counters.num_matches.load() - before, match_count, "{weight}");
        assert_eq!(bench.ends[1].conn.in_msgs.load(), 10);
    }
}

#[test]
fn messages_in_turns_reach_whoever_has_subscribed_by_then() {
    let mut bench = mapped(&[to("old.*", "new.$1", 100), to("alias", "new.a", 100)]);
    let input = ["old.a", "old.b", "alias", "new.a", "old.a"];
    let wanted = ["new.a", "new.b", "new.a", "new.a", "new.a"];
    for round in 1..=3 {
        for _ in 0..2 {
            let copies = wanted.map(|subject| [subject].repeat(round)).concat();
            assert_eq!(heard(&mut bench, &input), copies);
        }
        bench.send(0, format!("SUB new.* {}\r\n", round + 1).as_bytes());
    }
    bench.send(0, b"UNSUB 1\r\nUNSUB 2\r\nUNSUB 3\r\nUNSUB 4\r\n");
    assert_eq!(heard(&mut bench, &input), [""; 0]);
}

#[test]
fn chance_follows_the_weights() {
    let mut bench = mapped(&[to("f", "a", 30), to("r", "r.{{random(4)}}", 100)]);
    let subjects = heard(&mut bench, &["f"; 4000]);
    let count = subjects.iter().filter(|subject| *subject == "a").count();
    assert!((1000..1400).contains(&count), "{count}");
    assert!(subjects.iter().all(|subject| subject == "a" || subject == "f"));
    let subjects = heard(&mut bench, &["r"; 400]);
    for expected in ["r.0", "r.1", "r.2", "r.3"] {
        let count = subjects.iter().filter(|subject| *subject == expected).count();
        assert!((40..180).contains(&count), "{expected}: {count}");
    }
}

#[test]
fn answers_of_services_keep_their_subjects() {
    let mut bench = mapped(&[to(">", "pre.>", 100)]);
    assert_eq!(heard(&mut bench, &["_R_.a.b", "_R_x", "a"]), ["_R_.a.b", "pre._R_x", "pre.a"]);
}

#[test]
fn a_subject_longer_than_a_line_is_lost() {
    let mut bench = mapped(&[to("f.*", "o.{{sliceFromLeft(1,1)}}", 100)]);
    let [fits, too_long] = [2047, 2048].map(|len| format!("f.{}", "x".repeat(len)));
    assert_eq!(heard(&mut bench, &[&fits])[0].len(), 4095);
    assert_eq!(heard(&mut bench, &[&too_long]), [""; 0]);
    assert_eq!(bench.ends[1].closed, None);
}

#[test]
fn new_settings_hold_for_the_next_message() {
    let mut bench = mapped(&[]);
    assert_eq!(heard(&mut bench, &["f"]), ["f"]);
    for destination in ["a", "b"] {
        let mappings = vec![to("f", destination, 100)];
        bench.registry.change_settings(Options { mappings, ..Options::default() });
        bench.delivery.renew_settings(&bench.registry);
        bench.ends[1].session.machine.handle_news(&mut bench.delivery);
        assert_eq!(heard(&mut bench, &["f"]), [destination]);
    }
    bench.registry.change_settings(Options::default());
    bench.delivery.renew_settings(&bench.registry);
    assert_eq!(heard(&mut bench, &["f"]), ["f"]);
}
