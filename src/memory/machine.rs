//! How much memory this process may take: the least of what the machine has, what its control group allows (version 1
//! or 2) and its own limit of address space.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes where nothing can be known.
const UNKNOWN: usize = 4 << 30;

/// Bytes that there are for this process at most, whatever others hold.
pub fn total() -> usize {
    let group = groups().iter().filter_map(Group::limit).min();
    [meminfo("MemTotal:"), group, address_space()].into_iter().flatten().min().unwrap_or(UNKNOWN)
}

/// Bytes that this process can still take, as things are.
pub fn free() -> usize {
    let group = groups().iter().filter_map(Group::free).min();
    let address = address_space().map(|limit| limit.saturating_sub(address_space_in_use().unwrap_or(0)));
    [meminfo("MemAvailable:"), group, address].into_iter().flatten().min().unwrap_or(UNKNOWN / 2)
}

/// The most bytes that this process held so far, where the system tells.
pub fn peak() -> Option<usize> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

fn meminfo(field: &str) -> Option<usize> {
    kib(&fs::read_to_string("/proc/meminfo").ok()?, field)
}

/// The bytes of a line `field: 12 kB`.
fn kib(text: &str, field: &str) -> Option<usize> {
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The limit that `ulimit -v` sets.
#[cfg(unix)]
fn address_space() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the call fills the struct that it is given.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then(|| usize::try_from(limit.rlim_cur).ok()).flatten()
}

#[cfg(not(unix))]
fn address_space() -> Option<usize> {
    None
}

fn address_space_in_use() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages = text.split_whitespace().next()?.parse::<usize>().ok()?;
    pages.checked_mul(4096)
}

/// A control group that limits memory: its folder, and the names of its files.
#[derive(Debug, PartialEq)]
struct Group {
    folder: PathBuf,
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` with the bytes of files that are given back on demand.
    reclaimable: &'static str,
}

/// The groups of this process that limit memory, with those that they lie in.
fn groups() -> Vec<Group> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups_of(&text, Path::new(GROUPS))
}

/// The groups that `/proc/self/cgroup` names, one a line: `id:controllers:path`.
fn groups_of(text: &str, root: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, limit, used, reclaimable) = match controllers {
            "" => (root.to_path_buf(), "memory.max", "memory.current", "inactive_file "),
            _ if controllers.split(',').any(|name| name == "memory") => (
                root.join("memory"),
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            ),
            _ => continue,
        };
        // Inside a container the path is often one of the host's, and the root stands for the group itself.
        let own = root.join(path.trim_start_matches('/'));
        let folders = own.ancestors().take_while(|folder| folder.starts_with(&root));
        groups.extend(folders.map(|folder| Group { folder: folder.to_path_buf(), limit, used, reclaimable }));
    }
    groups
}

impl Group {
    fn number(&self, file: &str) -> Option<usize> {
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }

    /// `None` where there is none: `max`, or the number that version 1 writes for that.
    fn limit(&self) -> Option<usize> {
        self.number(self.limit).filter(|limit| *limit < usize::MAX / 4)
    }

    fn free(&self) -> Option<usize> {
        let used = self.number(self.used)?;
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let line = stat.lines().find_map(|line| line.strip_prefix(self.reclaimable));
        let reclaimable = line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
        Some(self.limit()?.saturating_sub(used.saturating_sub(reclaimable)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in the place of `/sys/fs/cgroup` with these files.
    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn least(root: &Path, cgroup: &str, read: fn(&Group) -> Option<usize>) -> Option<usize> {
        groups_of(cgroup, root).iter().filter_map(read).min()
    }

    #[test]
    fn the_tightest_group_of_version_2_counts() {
        let root = mounted(&[
            ("a/memory.max", "600\n"),
            ("a/memory.current", "500\n"),
            ("a/memory.stat", "anon 100\ninactive_file 350\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "10\n"),
        ]);
        assert_eq!(least(root.path(), "0::/a/b\n", Group::limit), Some(600));
        assert_eq!(least(root.path(), "0::/a/b\n", Group::free), Some(450));
        assert_eq!(least(root.path(), "0::/elsewhere\n", Group::limit), None);
    }

    #[test]
    fn version_1_has_other_names_and_a_number_for_no_limit() {
        let root = mounted(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "7\n"),
            ("memory/jobs/memory.limit_in_bytes", "1000\n"),
            ("memory/jobs/memory.usage_in_bytes", "400\n"),
            ("memory/jobs/memory.stat", "total_inactive_file 100\n"),
        ]);
        let cgroup = "5:devices:/\n4:cpu,memory:/jobs/of/somebody\n0::/\n";
        assert_eq!(least(root.path(), cgroup, Group::limit), Some(1000));
        assert_eq!(least(root.path(), cgroup, Group::free), Some(700));
    }

    #[test]
    fn there_is_some_memory_and_less_is_free() {
        assert!(total() > 64 << 20);
        assert!(free() <= total());
    }
}
