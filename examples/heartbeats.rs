//! A fleet of services that announce themselves, beat, and answer requests; a monitor that
//! notices when one dies. Speaks through async-nats, as any program would: run it against
//! dialtone or nats-server.
//!
//! ```text
//! cargo run --example heartbeats -- [--server 127.0.0.1:4222] [--seconds 5] [--python]
//! ```
//!
//! | subject | who publishes it |
//! |---|---|
//! | `hello.<service>` | an instance, once, when it starts: its name |
//! | `hb.<region>.<service>.<instance>` | an instance, every 100 ms: a running number |
//! | `svc.<service>` | who needs the service; one instance of its queue group answers |
//!
//! Half way through, one instance is killed: its connection breaks off without a word. The monitor
//! must notice within 500 ms and must not miss anybody else; requests must go on being answered.
//! Ends with 0 if all that held. `heartbeats.py` plays the same parts in Python: with `--python`
//! one more instance is awaited from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use async_nats::Client;
use futures_util::StreamExt;
use tokio::{
    task::JoinHandle,
    time::{interval, sleep, sleep_until, timeout},
};

/// Time between two beats of an instance.
const BEAT: Duration = Duration::from_millis(100);

/// Silence after which an instance counts as dead.
const DEAD_AFTER: Duration = Duration::from_millis(300);

/// Time in which a death must be noticed: the silence, one look of the monitor, and some delay.
const NOTICED_WITHIN: Duration = Duration::from_millis(500);

/// Region, service, instance.
const FLEET: [(&str, &str, &str); 6] = [
    ("eu", "pricing", "pricing-1"),
    ("eu", "pricing", "pricing-2"),
    ("us", "pricing", "pricing-3"),
    ("eu", "mailer", "mailer-1"),
    ("us", "mailer", "mailer-2"),
    ("us", "search", "search-1"),
];

/// The instance that dies.
const VICTIM: &str = "pricing-2";

type Anything<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::read() {
        Ok(arguments) => play(&arguments).await,
        Err(err) => Err(err),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("heartbeats: {err}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    server: String,
    length: Duration,
    python: bool,
}

impl Arguments {
    fn read() -> Anything<Self> {
        let server = "127.0.0.1:4222".into();
        let mut arguments = Self { server, length: Duration::from_secs(5), python: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--server" => arguments.server = words.next().ok_or("--server needs a URL")?,
                "--seconds" => {
                    let seconds = words.next().ok_or("--seconds needs a number")?.parse()?;
                    arguments.length = Duration::from_secs(2.max(seconds));
                }
                "--python" => arguments.python = true,
                _ => return Err(format!("unknown word {word}").into()),
            }
        }
        Ok(arguments)
    }
}

/// The whole scene.
async fn play(arguments: &Arguments) -> Anything<()> {
    let scene_start = Instant::now();
    let client = async_nats::connect(&arguments.server).await?;
    let info = client.server_info();
    println!("server   {} {}, {}", info.server_name, info.version, arguments.server);

    let mut monitor = Monitor::start(&client).await?;
    let mut fleet = BTreeMap::new();
    for (region, service, instance) in FLEET {
        let client = async_nats::connect(&arguments.server).await?;
        fleet.insert(instance, start_service(client, region, service, instance).await?);
    }
    let mut awaited: BTreeSet<&str> = FLEET.iter().map(|(_, _, instance)| *instance).collect();
    if arguments.python {
        awaited.insert("pricing-py");
    }
    timeout(arguments.length, monitor.await_all(awaited))
        .await
        .map_err(|_| "not all of the fleet came up")??;
    println!("fleet    {} instances beat every {BEAT:?}", monitor.alive.len());

    let requester = tokio::spawn(request_prices(client.clone(), arguments.length / 2));
    monitor.expect_no_death(Instant::now() + arguments.length / 4).await?;

    fleet.remove(VICTIM).expect("the victim is part of the fleet").abort();
    let died_at = Instant::now();
    println!("kill     {VICTIM}");
    let dead = timeout(NOTICED_WITHIN * 2, monitor.next_death())
        .await
        .map_err(|_| format!("the death of {VICTIM} was not noticed"))??;
    let noticed_after = died_at.elapsed();
    println!("noticed  {dead} is dead, after {} ms", noticed_after.as_millis());

    monitor.expect_no_death(scene_start + arguments.length).await?;
    let requests = requester.await??;
    println!("answers  {requests}");
    println!("beats    {} in all, {} lost", monitor.beats, monitor.lost);

    if dead != VICTIM {
        return Err(format!("{dead} was taken for dead, it was {VICTIM} that died").into());
    }
    if noticed_after > NOTICED_WITHIN {
        return Err(format!("noticed only after {noticed_after:?}").into());
    }
    requests.check()
}

/// Announces an instance and lets it beat and answer until it is aborted. Aborting drops its only
/// client, which closes the connection without goodbye.
async fn start_service(
    client: Client,
    region: &'static str,
    service: &'static str,
    instance: &'static str,
) -> Anything<JoinHandle<Anything<()>>> {
    let mut requests = client.queue_subscribe(format!("svc.{service}"), service.into()).await?;
    client.flush().await?;
    client.publish(format!("hello.{service}"), instance.into()).await?;
    let subject = format!("hb.{region}.{service}.{instance}");
    Ok(tokio::spawn(async move {
        let mut beats = interval(BEAT);
        let mut number = 0u64;
        loop {
            tokio::select! {
                _ = beats.tick() => {
                    number += 1;
                    client.publish(subject.clone(), number.to_string().into()).await?;
                }
                Some(request) = requests.next() => {
                    if let Some(reply) = request.reply {
                        client.publish(reply, instance.into()).await?;
                    }
                }
            }
        }
    }))
}

/// The instances alive, as far as messages show.
struct Monitor {
    hellos: async_nats::Subscriber,
    beating: async_nats::Subscriber,
    /// Instance to its last beat: when, and which number.
    alive: BTreeMap<String, (Instant, u64)>,
    beats: u64,
    /// Numbers missing between two beats.
    lost: u64,
}

impl Monitor {
    async fn start(client: &Client) -> Anything<Self> {
        let hellos = client.subscribe("hello.*").await?;
        let beating = client.subscribe("hb.*.*.*").await?;
        client.flush().await?;
        Ok(Self { hellos, beating, alive: BTreeMap::new(), beats: 0, lost: 0 })
    }

    /// Waits until each of these was heard of.
    async fn await_all(&mut self, mut awaited: BTreeSet<&str>) -> Anything<()> {
        while !awaited.is_empty() {
            tokio::select! {
                Some(hello) = self.hellos.next() => {
                    println!("hello    {}", String::from_utf8_lossy(&hello.payload));
                }
                Some(beat) = self.beating.next() => {
                    let instance = self.hear(&beat)?;
                    awaited.remove(instance.as_str());
                }
            }
        }
        Ok(())
    }

    /// Listens until somebody has not been heard for [`DEAD_AFTER`].
    async fn next_death(&mut self) -> Anything<String> {
        loop {
            let quietest = self.alive.iter().min_by_key(|(_, (heard_at, _))| *heard_at);
            let (instance, (heard_at, _)) = quietest.ok_or("nobody is alive")?;
            let (instance, deadline) = (instance.clone(), *heard_at + DEAD_AFTER);
            tokio::select! {
                biased;
                Some(beat) = self.beating.next() => drop(self.hear(&beat)?),
                () = sleep_until(deadline.into()) => {
                    self.alive.remove(&instance);
                    return Ok(instance);
                }
            }
        }
    }

    async fn expect_no_death(&mut self, until: Instant) -> Anything<()> {
        tokio::select! {
            death = self.next_death() => Err(format!("{} went silent", death?).into()),
            () = sleep_until(until.into()) => Ok(()),
        }
    }

    fn hear(&mut self, beat: &async_nats::Message) -> Anything<String> {
        let instance = beat.subject.rsplit('.').next().unwrap_or_default().to_owned();
        let number: u64 = std::str::from_utf8(&beat.payload)?.parse()?;
        if let Some((_, last)) = self.alive.insert(instance.clone(), (Instant::now(), number)) {
            self.lost += number.saturating_sub(last + 1);
        }
        self.beats += 1;
        Ok(instance)
    }
}

/// Requests by who answered them.
#[derive(Default)]
struct Requests {
    answered_by: BTreeMap<String, u32>,
    failed: u32,
}

impl std::fmt::Display for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (instance, count) in &self.answered_by {
            write!(f, "{instance} {count}, ")?;
        }
        write!(f, "nobody {}", self.failed)
    }
}

impl Requests {
    /// A request that was on its way to the victim may be lost with it, no more than one since
    /// they are made one after the other.
    fn check(&self) -> Anything<()> {
        if self.failed > 1 || self.answered_by.len() < 2 {
            return Err("requests were not answered".into());
        }
        Ok(())
    }
}

/// Requests a price every 10 ms.
async fn request_prices(client: Client, length: Duration) -> Anything<Requests> {
    let end = Instant::now() + length;
    let mut requests = Requests::default();
    while Instant::now() < end {
        let answer = timeout(BEAT, client.request("svc.pricing", "tea".into())).await;
        match answer {
            Ok(Ok(answer)) => {
                let instance = String::from_utf8_lossy(&answer.payload).into_owned();
                *requests.answered_by.entry(instance).or_default() += 1;
            }
            Ok(Err(_)) | Err(_) => requests.failed += 1,
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(requests)
}
