//! The server's own client, and other clients, in memory.

use std::io::{self, IoSlice};
use std::time::SystemTime;

use super::*;
use crate::base::ids::ServerId;
use crate::base::limits::RESPONSE_THRESHOLD_DEFAULT;
use crate::client::fuzz::Bench;
use crate::config::options::{AccountOptions, Authorization, Credential, Login, User};
use crate::conn::Wire;
use crate::conn::taken::Taken;
use crate::deliver::Budget;
use crate::machine::session::{Session, Step};
use crate::monitor::{CertEnds, Process};

const HEADERS: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";
const REQUEST: &[u8] = b"PUB $SYS.REQ.USER.INFO in 0\r\n\r\n";

/// A server with services and `count` clients that get answers as subscription 1.
struct Served {
    bench: Bench,
    session: Session<System>,
    inbox: Arc<Taken>,
}

impl Served {
    fn new(count: usize) -> Served {
        let inbox = Arc::new(Taken::default());
        let mut bench = Bench::new(Options::default(), count);
        let system = system(&bench, Arc::clone(&inbox) as Arc<dyn Wire>);
        let session = Session::new(system, &bench.delivery.settings);
        for at in 0..count {
            bench.send(at, HEADERS.as_bytes());
            bench.send(at, b"SUB in 1\r\n");
        }
        Served { bench, session, inbox }
    }

    /// The answers that a client has got once all requests are answered.
    fn answers(&mut self, at: usize) -> String {
        let Served { bench: Bench { delivery, .. }, session, inbox } = self;
        let input = inbox.take();
        let mut rest = &input[..];
        while session.step(&mut rest, delivery).unwrap() == Step::Handled {}
        while session.machine.conn.take_news() {
            session.machine.handle_news(delivery);
        }
        delivery.commit(&session.machine.conn);
        String::from_utf8(self.bench.take(at)).unwrap()
    }
}

/// What lies outside of the core, in memory: long work is done at once.
struct Around {
    registry: Arc<Registry>,
    now: Moment,
}

impl Around {
    fn with_view(&self, look: impl FnOnce(&View<'_>)) {
        look(&View {
            registry: &self.registry,
            settings: &self.registry.settings(),
            mesh: None,
            now: self.now,
            start: SystemTime::UNIX_EPOCH,
            cert_ends: CertEnds::default(),
            monitor_port: 0,
            websocket_port: 0,
            process: &Process::default,
        });
    }
}

impl Outside for Around {
    fn look(&self, look: &mut dyn FnMut(&View<'_>)) {
        self.with_view(look);
    }

    fn work(&self, work: Work) {
        self.with_view(work);
    }

    fn reload(&self, done: Reloaded) {
        done(Err("no file".to_owned()));
    }
}

fn system(bench: &Bench, wire: Arc<dyn Wire>) -> System {
    let registry = Arc::clone(&bench.registry);
    let now = bench.delivery.now;
    let conn = registry.add(|cid, slot| Conn::new(cid, Kind::System, slot, None, now, wire));
    let around = Around { registry: Arc::clone(&registry), now };
    System::new(registry, conn, Box::new(around))
}

#[test]
fn who_asks_is_told_who_it_is() {
    let mut served = Served::new(2);
    served.bench.send(0, b"CONNECT {\"user\":\"one\",\"verbose\":false}\r\nSUB in 1\r\n");
    served.bench.send(0, REQUEST);
    let answer = served.answers(0);
    let data = "\"seq\":1,\"time\":\"1970-01-01T00:00:00Z\"},\"data\":{\"user\":\"one\",\
                \"account\":\"$G\",\"account_name\":\"$G\"}}\r\n";
    assert!(answer.starts_with("MSG in 1 ") && answer.ends_with(data), "{answer}");
    served.bench.take(1);
    served.bench.send(1, REQUEST);
    assert!(served.answers(1).contains("\"seq\":2,"));
}

/// A header in the request itself does not count as ours.
#[test]
fn nobody_asks_as_somebody_else() {
    let mut served = Served::new(2);
    let one = served.bench.ends[0].conn.cid;
    served.bench.send(0, b"CONNECT {\"user\":\"one\",\"verbose\":false}\r\n");
    let block = format!("NATS/1.0\r\nNats-Request-Info: {{\"id\":{one}}}\r\n\r\n");
    let len = block.len();
    let request = format!("HPUB $SYS.REQ.USER.INFO in {len} {}\r\n{block}hi\r\n", len + 2);
    served.bench.send(1, request.as_bytes());
    assert!(served.answers(1).contains("{\"user\":\"\","));
}

#[test]
fn a_reply_may_look_like_a_mark_of_groups() {
    let mut served = Served::new(1);
    for (sid, reply) in [(2, "+"), (3, "|")] {
        let request = format!("SUB {reply} {sid}\r\nPUB $SYS.REQ.USER.INFO {reply} 0\r\n\r\n");
        served.bench.send(0, request.as_bytes());
        let answer = served.answers(0);
        assert!(answer.starts_with(&format!("MSG {reply} {sid} ")), "{answer}");
    }
}

#[test]
fn what_cannot_be_answered_is_not() {
    let mut served = Served::new(2);
    served.bench.send(0, b"PUB $SYS.REQ.USER.INFO 0\r\n\r\n");
    assert_eq!(served.answers(0), "");
    served.bench.send(0, b"PUB $SYS.REQ.USER.INFO $SYS.REQ.USER.INFO 0\r\n\r\n");
    assert_eq!(served.answers(0), "");
    assert_eq!(served.inbox.take(), b"", "services do not ask each other");
    served.bench.send(0, REQUEST);
    served.bench.close(0, ClosedReason::ClientClosed);
    assert_eq!(served.answers(1), "");
}

#[test]
fn services_end_with_their_connection() {
    let mut served = Served::new(1);
    let settings = served.bench.registry.settings();
    let account = settings.system_account().unwrap();
    assert_eq!(account.with_sublist(|sublist| sublist.count()), 53);
    served.session.machine.close(ClosedReason::ServerShutdown, &mut served.bench.delivery);
    assert_eq!(account.with_sublist(|sublist| sublist.count()), 0);
    served.bench.send(0, REQUEST);
    assert!(served.answers(0).starts_with("HMSG in 1 50 50\r\nNATS/1.0 503\r\n"));
}

/// A task that never reads.
struct Unread;

impl Wire for Unread {
    fn try_write(&self, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[test]
fn requests_that_pile_up_are_dropped_and_counted_and_hold_up_nobody() {
    let options = Options { max_pending: 1024 * 1024, ..Options::default() };
    let mut bench = Bench::new(options, 1);
    let system = system(&bench, Arc::new(Unread));
    bench.send(0, HEADERS.as_bytes());
    let body = "x".repeat(64 * 1024);
    let request = format!("PUB $SYS.REQ.USER.INFO in {}\r\n{body}\r\n", body.len());
    for _ in 0..REQUESTS_PENDING_MAX / body.len() {
        assert_eq!(bench.registry.totals().slow_consumers, 0);
        bench.send(0, request.as_bytes());
        assert!(!bench.delivery.staging.has_stalled());
    }
    let pending_bytes = system.conn.received().pending_bytes;
    assert!(
        (REQUESTS_PENDING_MAX - 2 * body.len()..=REQUESTS_PENDING_MAX).contains(&pending_bytes)
    );
    assert!(!system.conn.is_closed());
    let totals = bench.registry.totals();
    assert_eq!((totals.slow_consumers, totals.slow.total(), totals.out_msgs), (1, 0, 0));
}

#[test]
fn accounts_that_come_later_have_the_services() {
    let mut served = Served::new(0);
    let registry = Arc::clone(&served.bench.registry);
    let late = Credential::Password { user: "late".into(), password: "p".into() };
    registry.change_settings(Options {
        accounts: vec![AccountOptions::new("later")],
        authorization: Authorization {
            login: Login::Users(vec![User { account: Some("later".into()), ..User::new(late) }]),
            ..Authorization::default()
        },
        ..Options::default()
    });
    served.bench.delivery.renew_settings(&registry);
    served.bench.add();
    served.bench.send(0, b"CONNECT {\"user\":\"late\",\"pass\":\"p\",\"verbose\":false}\r\n");
    served.bench.send(0, b"SUB in 1\r\n");
    served.bench.send(0, REQUEST);
    let answer = served.answers(0);
    assert!(answer.contains("\"data\":{\"user\":\"late\",\"account\":\"later\""), "{answer}");
}

/// The requests that nobody answers in time are forgotten, though nobody asks again.
#[test]
fn open_requests_are_looked_after() {
    let mut served = Served::new(1);
    served.inbox.take();
    served.bench.send(0, REQUEST);
    let registry = Arc::clone(&served.bench.registry);
    let settings = registry.settings();
    let account = settings.system_account().unwrap();
    assert_eq!(account.response_count(), 1);
    let Served { bench, session, .. } = &mut served;
    let system = &mut session.machine;
    assert_eq!(system.look_at, Moment::NEVER);
    assert!(system.conn.take_news());
    system.handle_news(&mut bench.delivery);
    let begin = bench.delivery.now;
    while system.look_at != Moment::NEVER {
        bench.delivery.now = system.look_at;
        system.handle_deadline(&mut bench.delivery).unwrap();
    }
    assert_eq!(account.response_count(), 0);
    let taken = bench.delivery.now - begin;
    let threshold = RESPONSE_THRESHOLD_DEFAULT;
    assert!(threshold < taken && taken <= threshold + LOOK_INTERVAL * 2, "{taken:?}");
    // Other news begins no look.
    system.handle_news(&mut bench.delivery);
    assert_eq!(system.look_at, Moment::NEVER);
    // The next one is noticed again.
    served.bench.send(0, REQUEST);
    assert!(served.session.machine.conn.take_news());
}

#[test]
fn an_answer_that_is_too_long_is_an_error() {
    let mut served = Served::new(20);
    let ask = |body: &str| {
        let len = body.len();
        format!("PUB $SYS.REQ.SERVER.PING.CONNZ in {len}\r\n{body}\r\n").into_bytes()
    };
    served.bench.take(0);
    served.bench.send(0, &ask(""));
    let answer = served.answers(0);
    let error = "\"data\":null,\"error\":{\"code\":500,\"description\":\"answer too long: ask for \
                 a part of it, by limit and offset\"}}\r\n";
    assert!(answer.ends_with(error), "{answer}");
    served.bench.send(0, &ask("{\"limit\":1}"));
    assert!(served.answers(0).contains("\"num_connections\":1,"));
}

/// Other servers are waited for, up to a time, and not for any number of requests.
#[test]
fn sums_wait_for_other_servers() {
    let mut served = Served::new(1);
    let system = &mut served.session.machine;
    let request = request::Request { reply: b"in", header: b"", body: b"in" };
    let delivery = &mut served.bench.delivery;
    let dropped = |delivery: &Delivery| delivery.counters.slow_consumers.load();
    system.count_for_client(&request, delivery);
    assert_eq!(system.sums.due(), Moment::NEVER);
    let account = delivery.settings.system_account().cloned().unwrap();
    account.set_elsewhere(ServerId::of_key([1; 32]), 1);
    for expected in [0, 0, 1] {
        system.count_for_client(&request, delivery);
        assert_eq!(dropped(delivery), expected);
    }
    delivery.now = system.sums.due();
    system.send_due_sums(delivery);
    assert_eq!(system.sums.due(), Moment::NEVER);
}

/// A client of the system account, the first one, and one of the account `A`, the second.
fn told() -> Served {
    let user = |name: &str, account: &str| {
        let credential = Credential::Password { user: name.into(), password: "p".into() };
        User { account: Some(account.into()), ..User::new(credential) }
    };
    let options = Options {
        accounts: vec![AccountOptions::new("$SYS"), AccountOptions::new("A")],
        authorization: Authorization {
            login: Login::Users(vec![user("s", "$SYS"), user("a", "A")]),
            ..Authorization::default()
        },
        ..Options::default()
    };
    let inbox = Arc::new(Taken::default());
    let mut bench = Bench::new(options, 2);
    let system = system(&bench, Arc::clone(&inbox) as Arc<dyn Wire>);
    let session = Session::new(system, &bench.delivery.settings);
    bench.send(0, b"CONNECT {\"user\":\"s\",\"pass\":\"p\",\"verbose\":false}\r\n");
    Served { bench, session, inbox }
}

impl Served {
    /// The subjects of the events that the first client has got, once all are published that are
    /// due at the time.
    fn events(&mut self) -> Vec<String> {
        let Served { bench: Bench { delivery, .. }, session, .. } = self;
        let system = &mut session.machine;
        while system.deadline(&delivery.settings) <= delivery.now {
            system.handle_deadline(delivery).unwrap();
        }
        while system.continue_work(delivery).unwrap() == Left::More {
            delivery.staging.start_turn(Budget { work_ns_max: 1_000_000, splits: false });
        }
        delivery.commit(&system.conn);
        let text = String::from_utf8(self.bench.take(0)).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("MSG "));
        lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    }
}

#[test]
fn the_counts_of_an_account_with_clients_go_out_again() {
    const SUBJECT: &str = "$SYS.ACCOUNT.A.SERVER.CONNS";
    let mut told = told();
    told.bench.send(0, format!("SUB {SUBJECT} 1\r\n").as_bytes());
    told.events();
    assert!(told.bench.registry.events.pop().is_none());
    told.bench.send(1, b"CONNECT {\"user\":\"a\",\"pass\":\"p\",\"verbose\":false}\r\n");
    assert_eq!(told.events(), [SUBJECT]);
    for _ in 0..2 {
        told.bench.delivery.now = told.bench.delivery.now + Duration::from_secs(29);
        assert!(told.events().is_empty());
        told.bench.delivery.now = told.bench.delivery.now + Duration::from_secs(1);
        assert_eq!(told.events(), [SUBJECT]);
    }
    told.bench.close(1, ClosedReason::ClientClosed);
    assert_eq!(told.events(), [SUBJECT]);
    told.bench.delivery.now = told.bench.delivery.now + Duration::from_secs(60);
    assert!(told.events().is_empty());
}

/// The task of a client notes nothing for nobody.
#[test]
fn events_that_nobody_hears_are_not_noted() {
    let mut told = told();
    let connect = b"CONNECT {\"user\":\"a\",\"pass\":\"p\",\"verbose\":false}\r\n";
    told.bench.send(1, connect);
    assert!(told.bench.registry.events.pop().is_none());
    told.bench.send(0, b"SUB $SYS.ACCOUNT.*.CONNECT 1\r\n");
    told.bench.send(1, connect);
    assert_eq!(told.events(), ["$SYS.ACCOUNT.A.CONNECT"]);
    told.bench.send(0, b"UNSUB 1\r\n");
    told.bench.send(1, connect);
    assert!(told.bench.registry.events.pop().is_none());
}
