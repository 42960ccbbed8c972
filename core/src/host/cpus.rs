//! How many threads this process may keep busy.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use super::cgroup::Groups;

/// The number of threads this process may keep busy, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The number of threads.
    pub threads: NonZeroUsize,
    /// The number and its reason in plain words, for the log.
    pub reason: String,
}

impl Cpus {
    /// Measures the machine whose file system stands at `root` (`/` but for tests): the least of its processors,
    /// this process's affinity mask (which cpusets narrow) and the quota of each control group around it.
    ///
    /// ONNX Runtime would count the machine's processors and ignore the rest, and the standard library rounds a
    /// quota of 1.5 processors down.
    #[must_use]
    pub fn measure(root: &Path) -> Self {
        let machine = cpu_list(root, "sys/devices/system/cpu/online").unwrap_or_else(standard_count);
        let mut best = (machine, format!("all {machine} processors of the machine"));
        let mut offer = |threads: usize, reason: String| {
            if threads < best.0 {
                best = (threads, reason);
            }
        };
        if let Some(allowed) = allowed_cpus(root) {
            offer(allowed, format!("affinity mask or cpuset allows {allowed} of {machine} processors"));
        }
        for quota in quotas(root) {
            offer(quota.threads(), format!("{quota}, of {machine} processors"));
        }
        let (threads, reason) = best;
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        Self { threads, reason: format!("{threads}: {reason}") }
    }
}

/// The count of the standard library, where the kernel's files are not there to read.
fn standard_count() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Counts the processors of a kernel list such as `0-3,8`.
fn cpu_list(root: &Path, file: &str) -> Option<usize> {
    count_list(&fs::read_to_string(root.join(file)).ok()?)
}

/// Counts the processors that this process's affinity mask allows.
fn allowed_cpus(root: &Path) -> Option<usize> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    count_list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

fn count_list(list: &str) -> Option<usize> {
    let counts = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    counts.sum::<Option<usize>>().filter(|&count| count > 0)
}

/// A share of processor time that a control group grants: `quota_us` in each `period_us`.
struct Quota {
    hierarchy: &'static str,
    quota_us: u64,
    period_us: u64,
}

impl Quota {
    /// The threads that use the quota up: rounded up, since a thread too few would leave granted time unused.
    fn threads(&self) -> usize {
        usize::try_from(self.quota_us.div_ceil(self.period_us)).unwrap_or(usize::MAX).max(1)
    }
}

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rounded = if self.quota_us.is_multiple_of(self.period_us) { "" } else { " rounded up" };
        write!(f, "cgroup {} quota {}/{} µs{rounded}", self.hierarchy, self.quota_us, self.period_us)
    }
}

fn quotas(root: &Path) -> Vec<Quota> {
    let groups = Groups::of_this_process(root, "cpu");
    let v2 = groups.v2.iter().filter_map(|folder| {
        let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        quota_of("v2", quota, period)
    });
    let v1 = groups.v1.iter().filter_map(|folder| {
        let quota = fs::read_to_string(folder.join("cpu.cfs_quota_us")).ok()?;
        let period = fs::read_to_string(folder.join("cpu.cfs_period_us")).ok()?;
        quota_of("v1", &quota, &period)
    });
    v2.chain(v1).collect()
}

/// "No limit" is `max` in v2 and -1 in v1: neither is an unsigned number.
fn quota_of(hierarchy: &'static str, quota: &str, period: &str) -> Option<Quota> {
    let (quota_us, period_us) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (period_us > 0).then_some(Quota { hierarchy, quota_us, period_us })
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::machine;
    use super::*;

    const SIXTEEN: (&str, &str) = ("sys/devices/system/cpu/online", "0-15\n");
    const V2: [(&str, &str); 2] = [
        ("proc/self/cgroup", "0::/pod/box\n"),
        ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"),
    ];
    const V1: [(&str, &str); 2] = [
        ("proc/self/cgroup", "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n"),
        ("proc/self/mountinfo", "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"),
    ];

    fn measured(files: &[&[(&str, &str)]]) -> Cpus {
        Cpus::measure(machine(&files.concat()).path())
    }

    #[test]
    fn without_limits_the_whole_machine_counts() {
        let cpus = measured(&[&[SIXTEEN], &V2, &[("sys/fs/cgroup/pod/box/cpu.max", "max 100000\n")]]);
        assert_eq!((cpus.threads.get(), cpus.reason.as_str()), (16, "16: all 16 processors of the machine"));
    }

    #[test]
    fn a_fractional_v2_quota_is_rounded_up_and_says_so() {
        let cpus = measured(&[&[SIXTEEN], &V2, &[("sys/fs/cgroup/pod/box/cpu.max", "150000 100000\n")]]);
        assert_eq!(cpus.threads.get(), 2);
        assert_eq!(cpus.reason, "2: cgroup v2 quota 150000/100000 µs rounded up, of 16 processors");
    }

    #[test]
    fn the_quota_of_an_ancestor_binds() {
        let files =
            [("sys/fs/cgroup/pod/box/cpu.max", "800000 100000\n"), ("sys/fs/cgroup/pod/cpu.max", "300000 100000\n")];
        assert_eq!(
            measured(&[&[SIXTEEN], &V2, &files]).reason,
            "3: cgroup v2 quota 300000/100000 µs, of 16 processors"
        );
    }

    #[test]
    fn a_v1_quota_binds_and_minus_one_does_not() {
        let period = ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
        let some = measured(&[&[SIXTEEN], &V1, &[period, ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "20000\n")]]);
        assert_eq!(some.reason, "1: cgroup v1 quota 20000/100000 µs rounded up, of 16 processors");
        let none = measured(&[&[SIXTEEN], &V1, &[period, ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n")]]);
        assert_eq!(none.threads.get(), 16);
    }

    #[test]
    fn the_affinity_mask_binds() {
        let status = ("proc/self/status", "Name:\thedef\nCpus_allowed:\t10f\nCpus_allowed_list:\t0-3,8\n");
        assert_eq!(measured(&[&[SIXTEEN, status]]).reason, "5: affinity mask or cpuset allows 5 of 16 processors");
    }

    #[test]
    fn nonsense_in_the_kernels_files_is_no_limit() {
        let files = [("sys/fs/cgroup/pod/box/cpu.max", "5 0\n"), ("proc/self/status", "Cpus_allowed_list:\t9-3\n")];
        assert_eq!(measured(&[&[SIXTEEN], &V2, &files]).threads.get(), 16);
    }

    #[test]
    fn a_machine_that_tells_nothing_still_has_a_thread() {
        assert!(measured(&[]).threads.get() >= 1);
    }
}
