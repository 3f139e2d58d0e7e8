//! Clients under new settings: logins, passwords, permissions.

use super::*;
use crate::client::fuzz::with_accounts;

impl Bench {
    /// Replaces the options, and gives each client a turn.
    fn reload(&mut self, options: Options) {
        self.registry.change_settings(options);
        self.delivery.renew_settings(&self.registry);
        (0..self.ends.len()).for_each(|at| self.turn(at));
    }

    fn is_waiting(&self, at: usize) -> bool {
        self.ends[at].session.machine.is_waiting()
    }
}

/// A single user with that password or hash.
fn single(password: &str) -> Options {
    let mut options = Options::default();
    options.authorization.login =
        Login::Single { user: "u".to_owned(), password: password.to_owned() };
    options
}

/// A hash of the password `U*U`, another one each time.
fn hash() -> String {
    bcrypt::hash("U*U", 4).unwrap()
}

const OTHER_HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK";

#[test]
fn a_hash_is_computed_once() {
    let same = hash();
    let mut bench = Bench::new(single(&same), 1);
    bench.send(0, RIGHT);
    bench.check(0);
    text(&bench, 0);
    bench.reload(Options { max_payload: 5, ..single(&same) });
    assert!(!bench.is_waiting(0));
    bench.send(0, b"PING\r\nPUB a 6\r\n");
    assert_eq!(text(&bench, 0), "PONG|-ERR 'Maximum Payload Violation'|");
}

#[test]
fn another_hash_is_compared_while_the_client_waits() {
    for (hash, answer) in
        [(&*hash(), "PONG|"), (OTHER_HASH, "-ERR 'Authorization Violation'|"), ("U*U", "PONG|")]
    {
        let mut bench = with_bcrypt(1);
        bench.send(0, RIGHT);
        bench.check(0);
        text(&bench, 0);
        bench.reload(single(hash));
        bench.send(0, b"PING\r\n");
        if hash != "U*U" {
            assert_eq!(text(&bench, 0), "");
            // While it waits, the new hash proves nothing.
            bench.reload(single(hash));
            assert!(bench.is_waiting(0));
            bench.check(0);
        }
        bench.turn(0);
        assert_eq!(text(&bench, 0), answer, "{hash}");
    }
}

/// However long it takes to compare its password with another hash.
#[test]
fn rights_do_not_wait_for_the_check_of_a_password() {
    let with = |deny: &[&str]| {
        let mut options = denied(&deny.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
        if let Login::Users(users) = &mut options.authorization.login {
            users[0].credential = Credential::Password { user: "A".into(), password: hash() };
        }
        options
    };
    let mut bench = Bench::new(with(&[]), 1);
    bench.send(0, b"CONNECT {\"verbose\":false,\"user\":\"A\",\"pass\":\"U*U\"}\r\nSUB a 1\r\n");
    bench.check(0);
    text(&bench, 0);
    bench.reload(with(&["a"]));
    assert!(bench.is_waiting(0));
    let gone = "-ERR 'Permissions Violation for Subscription to \"a\" (sid \"1\")'|";
    assert_eq!(text(&bench, 0), gone);
    bench.check(0);
    assert_eq!(bench.ends[0].closed, None);
}

#[test]
fn a_login_under_way_is_judged_by_new_settings() {
    for (hash, answer) in
        [(&*hash(), "+OK|+OK|PONG|"), (OTHER_HASH, "-ERR 'Authorization Violation'|")]
    {
        let mut bench = with_bcrypt(1);
        bench.send(0, [RIGHT, b"SUB a 1\r\nPING\r\n"].concat().as_slice());
        let before = bench.ends[0].session.machine.take_check().unwrap();
        bench.reload(single(hash));
        // The verdict by settings that hold no more comes too late.
        let verdict = Some(before.run());
        let left = bench.ends[0].session.resume(verdict, &mut bench.delivery);
        assert_eq!(left, Ok(Left::Nothing));
        assert_eq!(text(&bench, 0), "");
        bench.check(0);
        assert_eq!(text(&bench, 0), answer);
    }
}

/// A second CONNECT may be another user, whose password the old hash does not prove.
#[test]
fn what_was_proven_counts_for_its_login_only() {
    let users = |password_of_b: &str| {
        let user = |name: &str, password: &str| {
            let (user, password) = (name.to_owned(), password.to_owned());
            User::new(Credential::Password { user, password })
        };
        let mut options = Options::default();
        let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        options.authorization.login = Login::Users(vec![user("u", hash), user("b", password_of_b)]);
        options
    };
    let mut bench = Bench::new(users("plain"), 1);
    bench.send(0, RIGHT);
    bench.check(0);
    bench.send(0, b"CONNECT {\"user\":\"b\",\"pass\":\"plain\"}\r\n");
    assert_eq!(text(&bench, 0), "+OK|+OK|");
    bench.reload(users("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
    bench.check(0);
    assert_eq!(text(&bench, 0), "-ERR 'Authorization Violation'|");
}

fn denied(subjects: &[String]) -> Options {
    let deny = subjects.to_vec();
    let subscribe = SubjectPermission { deny, ..SubjectPermission::default() };
    permitted(Permissions { subscribe, ..Permissions::default() })
}

/// One account with one user.
fn permitted(permissions: Permissions) -> Options {
    let mut options = with_accounts(Options::default(), &["A"]);
    if let Login::Users(users) = &mut options.authorization.login {
        users[0].permissions = Some(permissions.into());
    }
    options
}

const LOGIN: &[u8] = b"CONNECT {\"verbose\":false,\"user\":\"A\"}\r\n";

/// The PONG to a PING in between vouches for the end of all of them.
#[test]
fn many_subscriptions_are_reviewed_in_pieces() {
    const COUNT: usize = 3_000;
    let mut bench = Bench::new(denied(&[]), 2);
    bench.send(1, LOGIN);
    bench.send(0, LOGIN);
    for n in 0..COUNT {
        bench.send(0, format!("SUB s.{n} {n}\r\n").as_bytes());
    }
    let even: Vec<String> = (0..COUNT).step_by(2).map(|n| format!("s.{n}")).collect();
    bench.registry.change_settings(denied(&even));
    bench.delivery.renew_settings(&bench.registry);
    let first = bench.ends[0].session.resume(None, &mut bench.delivery);
    assert_eq!(first, Ok(Left::More));
    bench.send(0, b"PING\r\n");
    let heard = text(&bench, 0);
    assert_eq!(
        heard.matches("-ERR 'Permissions Violation for Subscription to ").count(),
        COUNT / 2
    );
    assert!(heard.ends_with("|PONG|"));
    for n in [0, 1, 2, COUNT - 1] {
        bench.send(1, format!("PUB s.{n} 1\r\nx\r\n").as_bytes());
    }
    assert_eq!(text(&bench, 0), format!("MSG s.1 1 1|x|MSG s.{0} {0} 1|x|", COUNT - 1));
    assert_eq!(bench.ends[0].conn.subscriptions().len(), COUNT / 2);
}

/// What was allowed in answer to a request goes on being allowed, as long as its permissions stay.
#[test]
fn answers_that_are_owed_can_be_given() {
    let answers = || Permissions {
        publish: SubjectPermission { allow: Some(Vec::new()), deny: Vec::new() },
        allow_responses: Some(AllowResponses::default()),
        ..Permissions::default()
    };
    let mut bench = Bench::new(permitted(answers()), 1);
    bench.add();
    bench.send(0, LOGIN);
    bench.send(0, b"SUB s 1\r\n");
    let conn = std::sync::Arc::clone(&bench.ends[0].conn);
    conn.allow_reply(b"inbox", Moment::START);
    bench.reload(Options { max_payload: 5, ..permitted(answers()) });
    bench.send(0, b"PUB inbox 1\r\nx\r\n");
    assert_eq!(text(&bench, 0), "");
    conn.allow_reply(b"inbox", Moment::START);
    let less = Permissions { allow_responses: None, ..answers() };
    bench.reload(permitted(less));
    bench.send(0, b"PUB inbox 1\r\nx\r\n");
    assert_eq!(text(&bench, 0), "-ERR 'Permissions Violation for Publish to \"inbox\"'|");
}

/// nats-server disconnects them at each reload, and who has not logged in yet.
#[test]
fn single_users_and_names_without_need_stay() {
    for options in [Options::default(), single("x")] {
        let mut bench = Bench::new(options.clone(), 1);
        bench.send(0, b"CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"x\"}\r\n");
        bench.add();
        bench.reload(Options { max_payload: 5, ..options });
        bench.send(0, b"PING\r\n");
        bench.send(1, b"CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"x\"}\r\nPING\r\n");
        assert_eq!([0, 1].map(|at| text(&bench, at)), ["PONG|"; 2]);
    }
}

#[test]
fn who_is_at_its_limit_stays() {
    let limited = |max_subscriptions| {
        let mut options = with_accounts(Options::default(), &["A"]);
        options.accounts[0].limits.max_subscriptions = max_subscriptions;
        options
    };
    let mut bench = Bench::new(limited(None), 1);
    bench.send(0, LOGIN);
    bench.send(0, b"SUB a 1\r\nSUB b 2\r\n");
    bench.reload(limited(Some(2)));
    bench.send(0, b"PING\r\n");
    assert_eq!(text(&bench, 0), "PONG|");
    bench.reload(limited(Some(1)));
    assert_eq!(text(&bench, 0), "-ERR 'maximum subscriptions exceeded'|");
    assert_eq!(bench.ends[0].closed, Some(ClosedReason::MaxSubscriptionsExceeded));
}

/// Permissions that are written alike are one, whoever has them.
#[test]
fn permissions_that_stay_are_not_compiled_again() {
    let same = || denied(&["x".to_owned()]);
    let mut bench = Bench::new(same(), 1);
    bench.send(0, LOGIN);
    let before = bench.ends[0].conn.permissions().unwrap();
    bench.reload(Options { max_payload: 5, ..same() });
    assert!(Arc::ptr_eq(&before, &bench.ends[0].conn.permissions().unwrap()));
    let mut more = same();
    if let Login::Users(users) = &mut more.authorization.login {
        let user = "other".to_owned();
        let credential = Credential::Password { user, password: String::new() };
        users.push(User { credential, ..users[0].clone() });
    }
    bench.reload(more);
    bench.add();
    bench.send(1, b"CONNECT {\"verbose\":false,\"user\":\"other\"}\r\n");
    assert!(Arc::ptr_eq(&before, &bench.ends[1].conn.permissions().unwrap()));
}
