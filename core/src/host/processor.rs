//! What the processor can do.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The architecture and the instruction sets of the processor, as the machine whose file system stands at `root` (`/`
/// but for tests) tells them: kernels, and how weights are laid out for them, are chosen by these.
#[must_use]
pub fn processor(root: &Path) -> String {
    let told = File::open(root.join("proc/cpuinfo")).ok().and_then(|file| {
        // The first processor's lines are enough, and reading on costs time for each of the others.
        let mut lines = BufReader::new(file).lines().map_while(Result::ok);
        lines.find(|line| line.starts_with("flags") || line.starts_with("Features"))
    });
    let flags = told.as_deref().and_then(|line| line.split_once(':')).map_or("", |(_, flags)| flags.trim());
    format!("{} {flags}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::machine;
    use super::*;

    #[test]
    fn instruction_sets_are_those_of_the_first_processor() {
        let info = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n";
        let arch = std::env::consts::ARCH;
        assert_eq!(processor(machine(&[("proc/cpuinfo", info)]).path()), format!("{arch} fpu avx2"));
        assert_eq!(processor(machine(&[("proc/cpuinfo", "Features\t: asimd\n")]).path()), format!("{arch} asimd"));
        assert_eq!(processor(machine(&[]).path()), format!("{arch} "));
    }
}
