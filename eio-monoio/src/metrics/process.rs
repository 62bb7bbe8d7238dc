//! [`ProcessMetrics`]: the figures of this process, from `/proc`.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

/// The figures of this process that every Prometheus client has, under the same names (`process_*`). A figure that `/proc`
/// does not show is zero.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProcessMetrics {
    /// The time of all processors that it has used.
    pub cpu: Duration,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The limit on open file descriptors; zero if it is unlimited.
    pub max_fds: u64,
    /// Bytes of address space.
    pub virtual_memory: u64,
    /// Bytes of memory that are resident.
    pub resident_memory: u64,
    /// Its start, as the time since 1970.
    pub start_time: Duration,
    /// Threads.
    pub threads: u64,
}

impl ProcessMetrics {
    /// Reads the figures. Takes about 0.1 ms.
    pub(crate) fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        Self {
            // proc_pid_stat(5): (14) utime, (15) stime.
            cpu: ticks(field(&stat, 14) + field(&stat, 15)),
            open_fds: open_fds(),
            max_fds: max_fds(&read("/proc/self/limits")),
            virtual_memory: field(&stat, 23),
            resident_memory: line(&status, "VmRSS:") * 1024,
            start_time: start_time(&stat),
            threads: line(&status, "Threads:"),
        }
    }
}

/// Field `number` of `/proc/self/stat`, counted from 1. The second one is the name of the program in parentheses, which
/// may have spaces and parentheses.
fn field(stat: &str, number: usize) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(number - 3).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The number after `name` at the start of a line.
fn line(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The unit of the times in `/proc` is USER_HZ, which is 100 on all platforms of Rust.
fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

fn open_fds() -> u64 {
    const DIRECTORY: &str = "/proc/self/fd";
    // Since Linux 6.2 its size is the number of descriptors, which saves listing them.
    let size = fs::metadata(DIRECTORY).map_or(0, |metadata| metadata.len());
    // Without the descriptor that lists them.
    let listed = || fs::read_dir(DIRECTORY).map_or(0, |entries| entries.count().saturating_sub(1));
    if size > 0 { size } else { listed() as u64 }
}

/// The soft limit.
fn max_fds(limits: &str) -> u64 {
    line(limits, "Max open files")
}

/// The time of the start of the system and (22) `starttime`, the time since then.
fn start_time(stat: &str) -> Duration {
    static START: OnceLock<Duration> = OnceLock::new();
    *START.get_or_init(|| {
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        Duration::from_secs(line(&system, "btime")) + ticks(field(stat, 22))
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn figures_of_this_process_are_plausible() {
        let first = ProcessMetrics::read();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(first.start_time <= now + Duration::from_secs(2), "{first:?}");
        assert!(now - first.start_time.min(now) < Duration::from_secs(3600), "{first:?}");
        assert!(first.resident_memory > 1 << 20, "{first:?}");
        assert!(first.virtual_memory > first.resident_memory, "{first:?}");
        assert!(first.threads >= 1 && first.open_fds >= 3, "{first:?}");
        assert!(first.max_fds >= first.open_fds, "{first:?}");
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(ProcessMetrics::read().open_fds >= first.open_fds + 50);
        drop(files);
    }

    #[test]
    fn name_of_the_program_may_have_spaces_and_parentheses() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 140 15 16 17";
        assert_eq!((field(stat, 14), field(stat, 15)), (140, 15));
        assert_eq!(field("", 14), 0);
    }
}
