//! How much memory this process may use, how much it uses, and how free memory goes back.

use std::fs;
use std::path::Path;

use super::cgroup::Groups;

/// Gives free heap memory back to the system; call it after each load and unload.
///
/// ONNX Runtime allocates with the C library's heap, which keeps what is freed: a loaded 100 MB model held
/// 285 MB before and 131 MB after. Only glibc needs this; elsewhere it does nothing.
pub fn release_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    super::system::trim_heap();
}

/// Makes the heap give memory back; call it once, before threads start. Elsewhere than on glibc it does nothing.
///
/// glibc allows eight arenas for each processor, and each keeps free memory of its own: one for each is enough, and four
/// in all, as threads keep small blocks by themselves. Blocks of 4 MiB and more are mapped: after unloading 100 MB of weights the process held 39 to 95 MB without that, 40 with it.
/// Smaller ones find up to 8 MiB that the last request left: giving those back costs a page fault for every 4 KiB of
/// the next request's body and tensors, several times what copying them does.
pub fn configure_malloc() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        super::system::bound_arenas(if processors < 4 { 2 } else { 4 });
        super::system::map_large_blocks(4 << 20);
        super::system::keep_free(8 << 20);
        super::system::no_fast_bins();
    }
}

/// The bytes of memory this process may use on the machine whose file system stands at `root` (`/` but for
/// tests): the least of the machine's memory and the limit of each control group around the process.
/// `None` where the system does not say.
#[must_use]
pub fn memory_limit(root: &Path) -> Option<u64> {
    let groups = Groups::of_this_process(root, "memory");
    let v2 = groups.v2.iter().map(|folder| folder.join("memory.max"));
    let v1 = groups.v1.iter().map(|folder| folder.join("memory.limit_in_bytes"));
    // "No limit" is `max` in v2, no number, and about 2^63 in v1, more than any machine has.
    let limits = v2.chain(v1).filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(kilobytes(&root.join("proc/meminfo"), "MemTotal:")).min()
}

/// The bytes of memory this process holds now, its resident set; `None` where the system does not say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    kilobytes(Path::new("/proc/self/status"), "VmRSS:")
}

/// The bytes of memory that this process holds for itself alone, what is mapped from files not counted; `None` where
/// the system does not say.
#[must_use]
pub fn own_bytes() -> Option<u64> {
    kilobytes(Path::new("/proc/self/status"), "RssAnon:")
}

/// The bytes of memory that another process holds, what is mapped from files left out where the system tells it apart;
/// `None` where the system does not say.
#[must_use]
pub fn memory_of(process: u32) -> Option<u64> {
    let status = Path::new("/proc").join(process.to_string()).join("status");
    kilobytes(&status, "RssAnon:").or_else(|| kilobytes(&status, "VmRSS:"))
}

/// Reads the line `NAME   1234 kB` of a kernel file, in bytes.
fn kilobytes(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::machine;
    use super::*;

    const GIB: u64 = 1 << 30;
    const EIGHT_GIB: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_machine_is_the_limit_without_control_groups() {
        assert_eq!(memory_limit(machine(&[EIGHT_GIB]).path()), Some(8 * GIB));
        assert_eq!(memory_limit(machine(&[]).path()), None);
    }

    #[test]
    fn the_tightest_v2_ancestor_binds() {
        let root = machine(&[
            EIGHT_GIB,
            ("proc/self/cgroup", "0::/pod/box\n"),
            ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "2147483648\n"),
        ]);
        assert_eq!(memory_limit(root.path()), Some(2 * GIB));
    }

    #[test]
    fn an_unlimited_v1_group_leaves_the_machine() {
        for (limit, expected) in [("9223372036854771712\n", 8 * GIB), ("1073741824\n", GIB)] {
            let root = machine(&[
                EIGHT_GIB,
                ("proc/self/cgroup", "4:memory:/box\n"),
                ("proc/self/mountinfo", "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
                ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", limit),
            ]);
            assert_eq!(memory_limit(root.path()), Some(expected));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_holds_memory_and_trimming_does_no_harm() {
        release_free_memory();
        assert!(resident_bytes().unwrap() > 0);
        assert!(memory_of(std::process::id()).unwrap() > 0);
        assert_eq!(memory_of(u32::MAX), None);
    }
}
