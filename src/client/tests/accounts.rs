//! Accounts are subject spaces of their own, with limits of their own.

use super::*;
use crate::client::fuzz::with_accounts;
use crate::config::options::AccountLimits;

/// Clients, one user of each of these accounts.
fn users(names: &[&str]) -> Bench {
    let mut bench = Bench::new(with_accounts(Options::default(), &["A", "B"]), names.len());
    for (at, name) in names.iter().enumerate() {
        log_in(&mut bench, at, name);
    }
    bench
}

fn log_in(bench: &mut Bench, at: usize, name: &str) {
    bench.send(at, connect(name).as_bytes());
}

fn connect(name: &str) -> String {
    format!("CONNECT {{\"verbose\":false,\"protocol\":1,\"user\":\"{name}\"}}\r\n")
}

fn account(bench: &Bench, name: &str) -> Arc<Account> {
    Arc::clone(bench.registry.settings().accounts.find(name.as_bytes()).unwrap())
}

fn client_counts(bench: &Bench) -> [usize; 3] {
    ["$G", "A", "B"].map(|name| account(bench, name).usage().client_count)
}

#[test]
fn one_subject_in_two_accounts_is_two() {
    let mut bench = users(&["A", "A", "B", "B"]);
    for at in 0..4 {
        bench.send(at, b"SUB s 1\r\nSUB s q 2\r\n");
    }
    // In turn, so that a match cached for one would be found for the other.
    for publisher in [0, 2, 0] {
        bench.send(publisher, b"PUB s 1\r\nx\r\n");
        let heard = [0, 1, 2, 3].map(|at| text(&bench, at).matches("MSG s").count());
        let sums = [heard[0] + heard[1], heard[2] + heard[3]];
        assert_eq!(sums, if publisher == 0 { [3, 0] } else { [0, 3] });
    }
    assert_eq!(bench.ends[3].conn.about().label().account.as_deref(), Some("B/user:B"));
}

#[test]
fn who_logs_in_anew_changes_the_account() {
    let mut bench = users(&["A", "B"]);
    bench.add();
    assert_eq!(client_counts(&bench), [1, 1, 1]);
    bench.send(0, b"SUB s 1\r\nPUB s 1\r\nx\r\n");
    text(&bench, 0);
    log_in(&mut bench, 0, "B");
    bench.send(0, b"SUB s 1\r\nPING\r\n");
    assert!(text(&bench, 0).contains("\"remote_account\":\"B\""));
    bench.send(1, b"PUB s 1\r\ny\r\n");
    assert_eq!(text(&bench, 0), "MSG s 1 1|y|");
    assert_eq!(client_counts(&bench), [1, 0, 2]);
    let carried = bench.ends[0].conn.traffic();
    assert_eq!((carried.in_msgs, carried.out_msgs), (1, 2));
    let of = |name, open| account(&bench, name).usage().traffic(Kind::Client, open);
    assert_eq!((of("A", Traffic::default()).in_msgs, of("A", Traffic::default()).out_msgs), (1, 1));
    assert_eq!((of("B", carried).in_msgs, of("B", carried).out_msgs), (0, 1));
    (0..3).for_each(|at| bench.close(at, ClosedReason::ClientClosed));
    assert_eq!(client_counts(&bench), [0; 3]);
}

#[test]
fn an_account_takes_so_many_clients() {
    let mut bench = users(&["A"]);
    let max_connections = Some(1);
    account(&bench, "A").set_limits(AccountLimits { max_connections, ..AccountLimits::default() });
    log_in(&mut bench, 0, "A");
    assert_eq!((bench.ends[0].closed, text(&bench, 0)), (None, String::new()));
    (0..2).for_each(|_| bench.add());
    log_in(&mut bench, 1, "A");
    assert_eq!(text(&bench, 1), "-ERR 'maximum account active connections exceeded'|");
    assert_eq!(bench.ends[1].closed, Some(ClosedReason::MaxAccountConnectionsExceeded));
    assert_eq!(client_counts(&bench), [1, 1, 0]);
    bench.close(0, ClosedReason::ClientClosed);
    log_in(&mut bench, 2, "A");
    assert_eq!((bench.ends[2].closed, client_counts(&bench)), (None, [0, 1, 0]));
}

#[test]
fn the_narrower_limit_of_account_and_server_holds() {
    let mut options = with_accounts(Options::default(), &["A", "B"]);
    (options.max_subscriptions, options.max_payload) = (2, 8);
    let mut bench = Bench::new(options, 2);
    bench.registry.change_info(|info| info.max_payload = 8);
    for (name, max) in [("A", 1), ("B", 100)] {
        let limits = AccountLimits {
            max_connections: None,
            max_subscriptions: Some(max),
            max_payload: Some(4 * max),
        };
        account(&bench, name).set_limits(limits);
    }
    for (at, name) in [(0, "A"), (1, "B")] {
        log_in(&mut bench, at, name);
        bench.send(
            at,
            b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nPING\r\nPUB d 8\r\n12345678\r\nPUB d 9\r\n",
        );
    }
    let heard = [0, 1].map(|at| text(&bench, at));
    let counts = |part: &str| heard.each_ref().map(|heard| heard.matches(part).count());
    assert_eq!(counts("-ERR 'maximum subscriptions exceeded'"), [2, 1]);
    assert_eq!(counts("-ERR 'Maximum Payload Violation'"), [1, 1]);
    assert_eq!(
        [bench.ends[0].conn.traffic().in_msgs, bench.ends[1].conn.traffic().in_msgs],
        [0, 1]
    );
    assert_eq!((counts("\"max_payload\":4,"), counts("\"max_payload\":8,")), ([1, 0], [0, 1]));
}

#[test]
fn who_reads_too_slowly_counts_for_its_account() {
    let mut bench = users(&["A", "B"]);
    bench.close(0, ClosedReason::SlowConsumerPendingBytes);
    bench.close(1, ClosedReason::ClientClosed);
    assert_eq!(["A", "B"].map(|name| account(&bench, name).usage().slow_consumers), [1, 0]);
}
