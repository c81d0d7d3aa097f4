//! Memory use of the process, and its graceful shutdown before the kernel's OOM killer ends it
//! during a job.

use std::{fs, io, sync::atomic::AtomicI64, time::Duration};

use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use tokio_util::sync::CancellationToken;

/// Interval between two checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Consecutive checks that must exceed the threshold: a short peak is not a leak.
const CHECKS_OVER_THRESHOLD: u32 = 2;

/// Watches the memory of this process.
pub struct MemoryMonitor {
    limit: Option<u64>,
    resident: Gauge<i64, AtomicI64>,
}

impl MemoryMonitor {
    /// Registers the gauges of memory in use and, if given, of the limit. `limit` is the
    /// container's, in bytes.
    pub fn register(registry: &mut Registry, limit: Option<u64>) -> Self {
        let resident = Gauge::default();
        let help = "Resident memory of the process";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, resident.clone());
        if let Some(bytes) = limit {
            let gauge = Gauge::<i64, AtomicI64>::default();
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            let help = "Memory limit of the container";
            registry.register_with_unit("switchyard_process_memory_limit", help, Unit::Bytes, gauge);
        }
        Self { limit, resident }
    }

    /// Updates the gauge every 5 s. Returns only if the memory in use cannot be read.
    pub async fn report(&self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        while let Ok(held) = resident() {
            self.resident.set(i64::try_from(held).unwrap_or(i64::MAX));
            ticks.tick().await;
        }
    }

    /// Updates the gauge, and cancels `stop` when the process comes near its limit.
    ///
    /// Running jobs then finish, no new ones are taken, and the kubelet restarts the container.
    /// Returns the evidence, or `None` once `stop` is cancelled elsewhere. Without a limit it never
    /// cancels.
    pub async fn watch(&self, stop: &CancellationToken) -> Option<String> {
        let threshold = self.limit.map(|limit| threshold(limit, resident().unwrap_or_default()));
        let mut over = 0;
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        loop {
            tokio::select! { () = stop.cancelled() => return None, _ = ticks.tick() => {} }
            let held = match resident() {
                Ok(held) => held,
                Err(error) => {
                    tracing::warn!(%error, "could not read resident memory");
                    return None;
                }
            };
            self.resident.set(i64::try_from(held).unwrap_or(i64::MAX));
            over = if threshold.is_some_and(|threshold| held >= threshold) { over + 1 } else { 0 };
            if over == CHECKS_OVER_THRESHOLD {
                let limit = self.limit.unwrap_or_default();
                tracing::error!(
                    held,
                    limit,
                    "memory use is near the limit: finishing the running jobs, then restarting; \
                     raise the pool's memory limit if this happens again"
                );
                stop.cancel();
                return Some(format!("resident memory was {held} bytes of the limit of {limit} bytes"));
            }
        }
    }
}

/// Bytes at which the process stops: 85 % of the limit.
///
/// A process that starts above that, because its limit is tight, may use half of what is left.
/// Otherwise it would never run a job.
fn threshold(limit: u64, at_start: u64) -> u64 {
    (limit / 100 * 85).max(u64::midpoint(at_start.min(limit), limit))
}

/// Resident memory of this process in bytes.
///
/// # Errors
/// If `/proc/self/status` cannot be read or does not state `VmRSS`.
pub fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| io::Error::other("/proc/self/status has no VmRSS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_tight_limit_leaves_room_for_work() {
        assert_eq!(threshold(1000 * MIB, 200 * MIB) / MIB, 850);
        assert_eq!(threshold(1000 * MIB, 900 * MIB) / MIB, 950);
        assert_eq!(threshold(1000 * MIB, 2000 * MIB) / MIB, 1000);
    }

    #[tokio::test]
    async fn only_a_process_near_its_limit_is_stopped() {
        let mut registry = Registry::default();
        let stop = CancellationToken::new();
        let evidence = MemoryMonitor::register(&mut registry, Some(1)).watch(&stop).await;
        assert!(stop.is_cancelled());
        assert!(evidence.unwrap().contains("of the limit of 1 bytes"));
        for limit in [None, Some(u64::MAX / 2)] {
            let (stop, memory) = (CancellationToken::new(), MemoryMonitor::register(&mut Registry::default(), limit));
            let watched = tokio::time::timeout(3 * CHECK_INTERVAL, memory.watch(&stop)).await;
            assert!(watched.is_err() && !stop.is_cancelled());
            assert!(memory.resident.get() > 1 << 20);
        }
    }
}
