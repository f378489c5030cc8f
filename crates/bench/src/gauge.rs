//! What processes use according to `/proc`: memory, CPU time, and which processes belong together. Only
//! reads.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;
use nix::unistd::{SysconfVar, sysconf};

use super::model::Memory;

/// Default for the ticks per second in `/proc/PID/stat`.
const TICKS_PER_SECOND_DEFAULT: i64 = 100;

/// Fields of `/proc/PID/stat` (proc(5)) after the name, from 0: the parent, the CPU times of the process and
/// its reaped children, and its start time.
const STAT_PARENT: usize = 1;
const STAT_TIMES: std::ops::Range<usize> = 11..15;
const STAT_BEGUN: usize = 19;

/// The memory of a process, or of a thread's process.
pub(super) fn memory(pid: i32) -> Option<Memory> {
    parse_rollup(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Memory {
        rss_bytes: field("Rss")?,
        pss_bytes: field("Pss")?,
        private_dirty_bytes: field("Private_Dirty")?,
    })
}

/// The CPU time used so far by processes and their descendants, and by this process's reaped children. The
/// kernel counts in ticks, mostly of 10 ms.
#[derive(Debug, Clone)]
pub(super) struct CpuTimes {
    processes: HashMap<i32, Stat>,
    reaped_ms: f64,
}

impl CpuTimes {
    pub(crate) fn of(roots: &[i32]) -> Self {
        let mut processes = processes();
        let tree: HashSet<i32> = tree(&processes, roots).into_iter().collect();
        processes.retain(|pid, _| tree.contains(pid));
        let reaped_ms = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0.0, |usage| {
            let ms = |time: TimeVal| time.tv_sec() as f64 * 1_000.0 + time.tv_usec() as f64 / 1_000.0;
            ms(usage.user_time()) + ms(usage.system_time())
        });
        Self { processes, reaped_ms }
    }

    /// CPU time used since `before`, in milliseconds.
    pub(crate) fn ms_since(&self, before: &Self) -> f64 {
        let ticks_per_second =
            sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(TICKS_PER_SECOND_DEFAULT);
        let lives = |pid: &i32, stat: &Stat| {
            self.processes.get(pid).is_some_and(|now| now.begun_ticks == stat.begun_ticks)
        };
        // A reaped process's time has moved to its parent, and on to the next one if that has ended, too. If
        // somebody has killed both (a tool a shell and what it runs), it is lost.
        let is_counted_now = |pid: &i32, stat: &Stat| {
            if lives(pid, stat) {
                return true;
            }
            let mut ancestor = stat.parent;
            while let Some(known) = before.processes.get(&ancestor) {
                if lives(&ancestor, known) {
                    let has_grown_by = self.processes[&ancestor].ticks.saturating_sub(known.ticks);
                    return ancestor == stat.parent || has_grown_by >= stat.ticks;
                }
                ancestor = known.parent;
            }
            stat.parent == std::process::id().cast_signed()
        };
        let ticks = |stat: &Stat| stat.ticks as f64;
        let now: f64 = self.processes.values().map(ticks).sum();
        let then: f64 = before
            .processes
            .iter()
            .filter(|(pid, stat)| is_counted_now(pid, stat))
            .map(|(_, stat)| ticks(stat))
            .sum();
        let used_ms = self.reaped_ms - before.reaped_ms + (now - then) * 1_000.0 / ticks_per_second as f64;
        used_ms.max(0.0)
    }
}

pub(super) fn descendants(roots: &[i32]) -> Vec<i32> {
    tree(&processes(), roots)
}

/// A process that cannot be confused with a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pid: i32,
    begun_ticks: u64,
}

impl Known {
    pub(crate) fn kill(self) {
        let stat = read_stat(&Path::new("/proc").join(self.pid.to_string()));
        if stat.is_some_and(|stat| stat.begun_ticks == self.begun_ticks) {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// A process's descendants, without itself.
pub(super) fn offspring(root: i32) -> Vec<Known> {
    let processes = processes();
    let pids = tree(&processes, &[root]);
    let known = |pid: i32| Some(Known { pid, begun_ticks: processes.get(&pid)?.begun_ticks });
    pids.into_iter().filter(|pid| *pid != root).filter_map(known).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    ticks: u64,
    /// Its start time, since boot.
    begun_ticks: u64,
}

fn processes() -> HashMap<i32, Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, read_stat(&entry.path())?))
        })
        .collect()
}

fn read_stat(process: &Path) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(process.join("stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is in parentheses and may contain anything.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let times = fields.get(STAT_TIMES)?;
    let ticks = times.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    let begun_ticks = fields.get(STAT_BEGUN)?.parse().ok()?;
    Some(Stat { parent: fields.get(STAT_PARENT)?.parse().ok()?, ticks, begun_ticks })
}

fn tree(processes: &HashMap<i32, Stat>, roots: &[i32]) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, stat) in processes {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut seen = HashSet::new();
    let mut queue = roots.to_vec();
    let mut found = Vec::new();
    while let Some(pid) = queue.pop() {
        if seen.insert(pid) {
            found.push(pid);
            queue.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_told() {
        let memory = memory(std::process::id().cast_signed()).unwrap();
        assert!(memory.rss_bytes >= memory.private_dirty_bytes && memory.private_dirty_bytes > 0);
        assert!(memory.pss_bytes <= memory.rss_bytes && memory.pss_bytes > 0);
        assert_eq!(super::memory(i32::MAX), None);
    }

    #[test]
    fn a_name_may_contain_anything() {
        let stat =
            parse_stat("7 (a ) R 1 (b) S 42 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 77 5").unwrap();
        assert_eq!(stat, Stat { parent: 42, ticks: 100, begun_ticks: 77 });
    }

    #[test]
    fn what_a_child_has_used_is_counted_alive_and_reaped() {
        let before = CpuTimes::of(&[]);
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdin(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let used = || CpuTimes::of(&[pid]).ms_since(&before);
        // More than two ticks, to exclude accidents.
        while used() < 30.0 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let alive = used();
        child.kill().unwrap();
        child.wait().unwrap();
        let reaped = CpuTimes::of(&[]).ms_since(&before);
        assert!(alive >= 30.0, "{alive}");
        assert!(reaped >= alive - 20.0, "{reaped} {alive}");
        assert!(descendants(&[std::process::id().cast_signed()]).len() < 10_000);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers of ticks")]
    fn what_nobody_has_reaped_does_not_make_the_rest_smaller() {
        let stat = |parent, ticks| Stat { parent, ticks, begun_ticks: 1 };
        let times = |processes: &[(i32, Stat)]| CpuTimes {
            processes: processes.iter().copied().collect(),
            reaped_ms: 0.0,
        };
        let tool = (10, stat(1, 1));
        // The shell was killed together with the program it ran.
        let before = times(&[tool, (11, stat(10, 1)), (12, stat(11, 500))]);
        let after = times(&[tool, (21, stat(10, 1)), (22, stat(21, 40))]);
        let tick_ms = 1_000.0 / sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64;
        assert_eq!(after.ms_since(&before), 40.0 * tick_ms);
        // Both ended, one after the other, and were reaped.
        let after = times(&[(10, stat(1, 542)), (22, stat(10, 40))]);
        assert_eq!(after.ms_since(&before), 80.0 * tick_ms);
        // The shell ended alone and was reaped, and the tool has adopted the program.
        let after = times(&[(10, stat(1, 2)), (12, stat(10, 540))]);
        assert_eq!(after.ms_since(&before), 40.0 * tick_ms);
        // It was killed alone, and the living shell has its time.
        let after = times(&[tool, (11, stat(10, 501)), (22, stat(11, 40))]);
        assert_eq!(after.ms_since(&before), 40.0 * tick_ms);
    }
}
