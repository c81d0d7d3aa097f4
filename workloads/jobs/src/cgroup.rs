//! What the container may use, as its control group says. Both versions are looked at, as they show inside a container.

use std::{fs, path::Path};

const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 writes "no limit" as the largest multiple of a page that fits.
const NO_LIMIT: u64 = 1 << 62;

/// Processor cores that the container may use at once; none where it has no limit.
pub fn cores() -> Option<f64> {
    cores_below(Path::new(ROOT))
}

/// Bytes of memory that the container may hold; none where it has no limit.
pub fn memory() -> Option<u64> {
    memory_below(Path::new(ROOT))
}

fn cores_below(root: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(root.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(line) => {
            let (quota, period) = line.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
        None => (read("cpu/cpu.cfs_quota_us")?, read("cpu/cpu.cfs_period_us")?),
    };
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn memory_below(root: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(root.join(name)).ok();
    let limit = read("memory.max").or_else(|| read("memory/memory.limit_in_bytes"))?;
    limit.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn limits_are_read_in_either_version_and_none_is_none() {
        let second = group(&[("cpu.max", "150000 100000\n"), ("memory.max", "536870912\n")]);
        assert_eq!((cores_below(second.path()), memory_below(second.path())), (Some(1.5), Some(536_870_912)));
        let first = group(&[
            ("cpu/cpu.cfs_quota_us", "50000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "1048576\n"),
        ]);
        assert_eq!((cores_below(first.path()), memory_below(first.path())), (Some(0.5), Some(1_048_576)));
        let free = group(&[("cpu.max", "max 100000\n"), ("memory.max", "max\n")]);
        assert_eq!((cores_below(free.path()), memory_below(free.path())), (None, None));
        let free = group(&[
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!((cores_below(free.path()), memory_below(free.path())), (None, None));
        assert_eq!((cores_below(group(&[]).path()), memory_below(group(&[]).path())), (None, None));
    }
}
