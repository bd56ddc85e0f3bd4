//! What the system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::Path;

/// Raises the soft limit of descriptors to the hard one, and returns what is allowed then; `None`
/// if there is no limit.
pub(super) fn raise_descriptors() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // If it cannot be raised, what is allowed is asked below.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Descriptors that are kept for the disk, for peers, and for clients that only ask for the status.
const RESERVE: usize = 272;

/// How many of `clients` may connect to a process that may have so many descriptors. Of one that may
/// have few of them, clients get the half.
pub(super) fn places(clients: usize, descriptors: Option<usize>) -> usize {
    let spare = |all: usize| all - RESERVE.min(all / 2);
    clients.min(descriptors.map_or(usize::MAX, spare)).max(1)
}

/// The bytes of memory that this process may use at most: those of the machine, of the control
/// groups that it is in, and its own limits.
pub(super) fn memory() -> Option<u64> {
    let own = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = of_groups(&groups, |path| fs::read_to_string(path).ok());
    own.into_iter().chain([machine, group]).flatten().min()
}

/// The machine's memory, of the text of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of the groups named in `/proc/self/cgroup`, and of those above them.
fn of_groups(text: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let limit_of = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|it| it == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let own = Path::new(path.trim_start_matches('/'));
        // In a container the path may be one of the host's; the root there is the group's own.
        let limits = own.ancestors().map(|group| Path::new(root).join(group).join(file));
        limits.filter_map(|path| read(&path)?.trim().parse::<u64>().ok()).min()
    };
    text.lines().filter_map(limit_of).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_counts() {
        let read = |path: &Path| {
            let text = match path.to_str().unwrap() {
                "/sys/fs/cgroup/a/b/memory.max" => "max",
                "/sys/fs/cgroup/a/memory.max" => "100663296\n",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes" => "9223372036854771712",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(of_groups("0::/a/b\n", read), Some(96 << 20));
        assert_eq!(of_groups("4:cpu,memory:/a\n3:pids:/x\n", read), Some(9223372036854771712));
        assert_eq!(of_groups("0::/c\n", read), None);
        assert_eq!(total("MemFree: 7 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn clients_never_get_the_descriptors_of_disk_and_peers() {
        assert_eq!(places(4096, None), 4096);
        assert_eq!(places(4096, Some(1_000_000)), 4096);
        assert_eq!(places(4096, Some(1024)), 752);
        assert_eq!(places(4096, Some(64)), 32);
        assert_eq!(places(8, Some(1024)), 8);
    }

    #[test]
    fn this_machine_has_memory_and_descriptors() {
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
        assert!(raise_descriptors().is_none_or(|most| most > 16));
    }
}
