//! Resources used by the process, from Linux's `/proc`; elsewhere memory and time are 0.
//!
//! nats: server/pse/pse_linux.go

use std::fs;
use std::time::Duration;

use crate::base::moment::Moment;
use crate::monitor::Process;

/// The shortest time over which the percentage of a core is measured.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Linux counts processor time in ticks of 10 ms, at any timer frequency.
const TICK: Duration = Duration::from_millis(10);

/// Reads the resources used by the process, and remembers the last reading.
pub(crate) struct Meter {
    /// The time of reading `used`.
    at: Moment,
    /// Processor time until then.
    used: Duration,
    /// Percent of a core before then.
    cpu: f64,
}

impl Meter {
    /// Measures from the start of the server on.
    pub(crate) fn new() -> Meter {
        Meter { at: Moment::START, used: Duration::ZERO, cpu: 0.0 }
    }

    /// The present use; processor time since the last reading but this [`INTERVAL_MIN`].
    pub(crate) fn read(&mut self, now: Moment) -> Process {
        let passed = now - self.at;
        if passed >= INTERVAL_MIN {
            let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
            let used = processor_time(&stat).unwrap_or_default();
            let share = used.saturating_sub(self.used).as_secs_f64() / passed.as_secs_f64();
            *self = Meter { at: now, used, cpu: (share * 1000.0).round() / 10.0 };
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Process {
            mem: resident_memory(&status).unwrap_or_default(),
            cpu: self.cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Resident memory in bytes, from the text of `status`: its line `VmRSS: <number> kB`.
fn resident_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Processor time of all threads, in user space and in the kernel, from the text of `stat`: its
/// 14th and 15th field. The 2nd is the program's name in brackets, which may hold anything.
fn processor_time(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.saturating_add(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_linux_are_read() {
        let status = "Name:\tx\nVmHWM:\t  9000 kB\nVmRSS:\t    5120 kB\nThreads:\t2\n";
        assert_eq!(resident_memory(status), Some(5 << 20));
        assert_eq!(resident_memory(""), None);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 100 1000 200";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(processor_time("7 (a) S 1"), None);
    }

    #[test]
    fn a_busy_second_is_told_for_a_second() {
        let mut meter = Meter::new();
        assert_eq!(meter.read(Moment::START).cpu, 0.0);
        let later = Moment::START + INTERVAL_MIN;
        let cpu = meter.read(later).cpu;
        assert_eq!(meter.read(later + INTERVAL_MIN / 2).cpu, cpu);
    }
}
