//! The command line of the bench.

use std::path::PathBuf;
use std::time::Duration;

/// Printed by `--help`.
pub(crate) const HELP: &str = "\
Compares dialtone with nats-server under the same load. Usage: cargo bench --bench load -- [OPTION]

  --list             scenarios by name
  --suite NAME       table (default), untuned, tls, websocket, growth, clients or all
  --growth           the same as --suite growth
  --only NAME        scenarios whose name is or begins with NAME; may be repeated
  --rounds N         rounds of each scenario, the servers in turn [5]; where tails are judged more
  --seconds S        measured stretch of each run [2]
  --relay            measures the bare relay too, where it can stand in for a server
  --record           all suites with the relay, kept and drawn in benches/record/
  --aa               nats-server against itself: the noise of the method
  --before PATH      compares with an older dialtone in place of nats-server; no floors
  --csv FILE         keeps the figures
  --svg FILE         draws the ratios (or the growth)
  --from FILE        prints and draws a kept result instead of running
  --dialtone PATH    executable to measure [the one cargo has just built]
  --nats PATH        nats-server to compare with [$NATS_SERVER, or the one in PATH]
";

/// The arguments of the command line.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) list: bool,
    pub(crate) suite: String,
    pub(crate) only: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) stretch: Duration,
    pub(crate) relay: bool,
    pub(crate) record: bool,
    pub(crate) same_twice: bool,
    pub(crate) before: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    pub(crate) dialtone: Option<PathBuf>,
    pub(crate) nats: Option<PathBuf>,
}

impl Args {
    /// From the arguments without the program's name; `None` asks for the help.
    ///
    /// # Errors
    /// An unknown option, or a value that is missing or no number.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut args = Self {
            list: false,
            suite: "table".to_owned(),
            only: Vec::new(),
            rounds: 5,
            stretch: Duration::from_secs(2),
            relay: false,
            record: false,
            same_twice: false,
            before: None,
            csv: None,
            svg: None,
            from: None,
            dialtone: None,
            nats: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                // Cargo's own word to every bench.
                "--bench" => {}
                "--help" | "-h" => return Ok(None),
                "--list" => args.list = true,
                "--growth" => args.suite = "growth".to_owned(),
                "--relay" => args.relay = true,
                "--record" => {
                    args.record = true;
                    args.relay = true;
                    args.suite = "all".to_owned();
                }
                "--aa" => args.same_twice = true,
                "--suite" => args.suite = value()?,
                "--only" => args.only.push(value()?),
                "--rounds" => args.rounds = number(&value()?)?.max(1.0) as u32,
                "--seconds" => args.stretch = Duration::from_secs_f64(number(&value()?)?),
                "--before" => args.before = Some(value()?.into()),
                "--csv" => args.csv = Some(value()?.into()),
                "--svg" => args.svg = Some(value()?.into()),
                "--from" => args.from = Some(value()?.into()),
                "--dialtone" => args.dialtone = Some(value()?.into()),
                "--nats" => args.nats = Some(value()?.into()),
                _ => return Err(format!("unknown option {word}\n\n{HELP}")),
            }
        }
        if args.record && !(args.only.is_empty() && args.from.is_none()) {
            return Err("a record is of whole suites, just measured".to_owned());
        }
        Ok(Some(args))
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.01..1e6).contains(&number) => Ok(number),
        _ => Err(format!("{text} is not a number above zero")),
    }
}
