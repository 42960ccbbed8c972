//! Finds the control-group folders whose limits bind this process (`man 7 cgroups`).

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of one controller that bind this process, from its own group up to the mounted root.
pub(super) struct Groups {
    /// Folders of the controller's own v1 hierarchy.
    pub(super) v1: Vec<PathBuf>,
    /// Folders of the unified v2 hierarchy.
    pub(super) v2: Vec<PathBuf>,
}

impl Groups {
    /// Reads `proc/self/cgroup` and `proc/self/mountinfo` under `root`; what cannot be read binds nothing.
    pub(super) fn of_this_process(root: &Path, controller: &str) -> Self {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
        let mut found = Self { v1: Vec::new(), v2: Vec::new() };
        for mount in mounts.lines().filter_map(Mount::parse) {
            let unified = mount.kind == "cgroup2";
            let Some(group) = group_path(&groups, (!unified).then_some(controller)) else { continue };
            if unified {
                found.v2.extend(mount.folders(root, group));
            } else if mount.controllers.split(',').any(|one| one == controller) {
                found.v1.extend(mount.folders(root, group));
            }
        }
        found
    }
}

/// Finds this process's path in the hierarchy of `controller`, or in the unified one for `None`.
///
/// A line is `ID:CONTROLLERS:PATH`; the unified hierarchy has no controllers.
fn group_path<'a>(groups: &'a str, controller: Option<&str>) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (controllers, path) = (fields.nth(1)?, fields.next()?);
        let matches = match controller {
            Some(wanted) => controllers.split(',').any(|one| one == wanted),
            None => controllers.is_empty(),
        };
        matches.then_some(path)
    })
}

/// One mounted control-group hierarchy.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    controllers: &'a str,
}

impl<'a> Mount<'a> {
    /// Parses `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS…] - KIND SOURCE SUPER-OPTIONS` (`man 5 proc`).
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let (mut mount, mut system) = (mount.split(' '), system.split(' '));
        let (root, point) = (mount.nth(3)?, mount.next()?);
        let (kind, controllers) = (system.next()?, system.nth(1)?);
        kind.starts_with("cgroup").then_some(Self { root, point, kind, controllers })
    }

    /// The folder of `group` and those of its ancestors inside this mount.
    ///
    /// In a container the group's path may be one of the host's, which is not below the mounted root:
    /// then the mount itself is the process's group.
    fn folders(&self, root: &Path, group: &str) -> Vec<PathBuf> {
        let point = root.join(self.point.trim_start_matches('/'));
        let inside = Path::new(group).strip_prefix(self.root).unwrap_or_else(|_| Path::new(""));
        let own = point.join(inside);
        if own.is_dir() {
            own.ancestors().take_while(|folder| folder.starts_with(&point)).map(Path::to_path_buf).collect()
        } else {
            vec![point]
        }
    }
}

/// The fixture files of a pretended machine.
#[cfg(test)]
pub(crate) fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn every_ancestor_of_a_v2_group_binds() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000"),
        ]);
        let groups = Groups::of_this_process(root.path(), "cpu");
        let point = root.path().join("sys/fs/cgroup");
        assert_eq!(groups.v2, [point.join("a/b"), point.join("a"), point]);
        assert!(groups.v1.is_empty());
    }

    #[test]
    fn a_host_path_inside_a_container_falls_back_to_the_mount() {
        let mount = "30 23 0:26 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        for group in ["3:cpu,cpuacct:/docker/abc\n", "3:cpu,cpuacct:/elsewhere\n", "3:cpu,cpuacct:/docker/abc/gone\n"] {
            let root = machine(&[
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", mount),
                ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1"),
            ]);
            let groups = Groups::of_this_process(root.path(), "cpu");
            assert_eq!(groups.v1, [root.path().join("sys/fs/cgroup/cpu,cpuacct")]);
        }
    }

    #[test]
    fn a_machine_without_proc_binds_nothing() {
        let root = machine(&[]);
        let groups = Groups::of_this_process(root.path(), "memory");
        assert!(groups.v1.is_empty() && groups.v2.is_empty());
    }
}
