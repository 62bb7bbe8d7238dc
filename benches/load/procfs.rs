//! CPU time and memory of processes, from `/proc`.

use std::fs;

/// CPU seconds of a process and its threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    /// `process` is a process id or `self`. The kernel counts in steps of 10 ms.
    pub(crate) fn of(process: &str) -> Option<Self> {
        /// `USER_HZ`: constant on every architecture that eio runs on.
        const TICKS: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The process name before it may contain parentheses and spaces.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ').skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
        Some(Self { user: seconds()?, system: seconds()? })
    }

    pub(crate) fn sum(self) -> f64 {
        self.user + self.system
    }
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
