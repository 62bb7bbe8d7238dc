//! CPU time and memory of processes, from `/proc`.

use std::fs;

/// CPU seconds of a process and its threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// By the scheduler, in steps of a nanosecond.
    total: f64,
    /// By the timer interrupt, in steps of 10 ms: for their ratio only.
    user: f64,
    system: f64,
    /// How often its threads went to sleep: voluntary context switches.
    sleeps: u64,
}

impl Cpu {
    /// `process` is a process id or `self`.
    pub(crate) fn of(process: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The process name before it may contain parentheses and spaces.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ').skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        let (total, sleeps) = threads(process)?;
        Some(Self { user: ticks()?, system: ticks()?, total, sleeps })
    }

    pub(crate) fn sum(self) -> f64 {
        self.total
    }

    /// How often the threads went to sleep since `earlier`.
    pub(crate) fn sleeps_since(self, earlier: Self) -> u64 {
        self.sleeps.saturating_sub(earlier.sleeps)
    }

    /// The share of the kernel in the time since `earlier`.
    pub(crate) fn system_share(self, earlier: Self) -> f64 {
        let (user, system) = (self.user - earlier.user, self.system - earlier.system);
        system / (user + system)
    }
}

/// Seconds for which the threads of a process ran, and how often they went to sleep. A thread that has ended no longer
/// counts.
fn threads(process: &str) -> Option<(f64, u64)> {
    let (mut nanoseconds, mut sleeps) = (0, 0);
    for task in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let task = task.ok()?.path();
        // The thread may end before its files are read.
        let Ok(stat) = fs::read_to_string(task.join("schedstat")) else { continue };
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        nanoseconds += stat.split(' ').next()?.parse::<u64>().ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        sleeps += line.trim().parse::<u64>().ok()?;
    }
    Some((nanoseconds as f64 / 1e9, sleeps))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(process: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Kernel memory in TCP buffers of all processes, in bytes.
pub(crate) fn tcp_buffers() -> Option<u64> {
    const PAGE: u64 = 4096;
    let stat = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1)?;
    Some(pages.parse::<u64>().ok()? * PAGE)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::Cpu;

    #[test]
    fn counts_each_sleep_of_a_process() {
        let before = Cpu::of("self").unwrap();
        (0..10).for_each(|_| sleep(Duration::from_micros(100)));
        let slept = Cpu::of("self").unwrap().sleeps_since(before);
        assert!(slept >= 10, "{slept} sleeps");
    }
}
