//! The container's CPU and memory limits, as its control group states them.
//!
//! Reads cgroup v2 and, where that is absent, v1, at the paths that a container sees.
//! Source: <https://docs.kernel.org/admin-guide/cgroup-v2.html>.

use std::{fs, path::Path};

const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 writes "no limit" as the largest multiple of the page size.
const NO_LIMIT: u64 = 1 << 62;

/// CPU cores that the container may use at once; `None` without a limit.
pub fn cpu_limit() -> Option<f64> {
    cpu_limit_below(Path::new(ROOT))
}

/// Bytes of memory that the container may hold; `None` without a limit.
pub fn memory_limit() -> Option<u64> {
    memory_limit_below(Path::new(ROOT))
}

fn cpu_limit_below(root: &Path) -> Option<f64> {
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

fn memory_limit_below(root: &Path) -> Option<u64> {
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
    fn limits_are_read_from_cgroup_v1_and_v2() {
        let v2 = group(&[("cpu.max", "150000 100000\n"), ("memory.max", "536870912\n")]);
        assert_eq!((cpu_limit_below(v2.path()), memory_limit_below(v2.path())), (Some(1.5), Some(536_870_912)));
        let v1 = group(&[
            ("cpu/cpu.cfs_quota_us", "50000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "1048576\n"),
        ]);
        assert_eq!((cpu_limit_below(v1.path()), memory_limit_below(v1.path())), (Some(0.5), Some(1_048_576)));
        let unlimited = group(&[("cpu.max", "max 100000\n"), ("memory.max", "max\n")]);
        assert_eq!((cpu_limit_below(unlimited.path()), memory_limit_below(unlimited.path())), (None, None));
        let unlimited = group(&[
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!((cpu_limit_below(unlimited.path()), memory_limit_below(unlimited.path())), (None, None));
        assert_eq!((cpu_limit_below(group(&[]).path()), memory_limit_below(group(&[]).path())), (None, None));
    }
}
