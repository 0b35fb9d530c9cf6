//! CPU time and memory of the server, from `/proc`.

use std::time::Duration;

/// `USER_HZ`: the unit of CPU times in `/proc`, 100 on every Linux architecture we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Watches one process of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerProcess {
    pid: u32,
}

impl ServerProcess {
    /// The process must exist.
    ///
    /// # Errors
    /// What `/proc` said.
    pub(crate) fn find(pid: u32) -> Result<Self, String> {
        let process = Self { pid };
        process
            .cpu_time()
            .map(|_| process)
            .ok_or_else(|| format!("there is no process {pid} whose /proc/{pid}/stat can be read"))
    }

    /// User and system time so far.
    pub(crate) fn cpu_time(self) -> Option<Duration> {
        parse_cpu_time(&std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?)
    }

    /// Resident memory now.
    pub(crate) fn resident_bytes(self) -> Option<u64> {
        parse_resident(&std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?)
    }
}

/// Fields 14 and 15; the name in field 2 may hold spaces and parentheses, so fields are counted behind the last one.
fn parse_cpu_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_an_odd_process_name() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu_time("nonsense"), None);
    }

    #[test]
    fn resident_memory_is_in_kibibytes() {
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t  2048 kB\n"),
            Some(2 << 20)
        );
    }
}
