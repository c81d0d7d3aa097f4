//! How much memory the process holds, and its end in good order before the kernel ends it in the middle of a job.

use std::{fs, io, sync::atomic::AtomicI64, time::Duration};

use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};
use tokio_util::sync::CancellationToken;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);
/// Looks in a row that must find too much: a short swell is no leak.
const LOOKS: u32 = 2;

/// The watch over one process.
pub struct Memory {
    limit: Option<u64>,
    resident: Gauge<i64, AtomicI64>,
}

impl Memory {
    /// Shows in `registry` what the process holds. `limit` is what the container may hold, in bytes.
    pub fn register(registry: &mut Registry, limit: Option<u64>) -> Self {
        let resident = Gauge::default();
        let help = "Memory that the process holds";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, resident.clone());
        if let Some(bytes) = limit {
            let allowed = Gauge::<i64, AtomicI64>::default();
            allowed.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            let help = "Memory that the container may hold";
            registry.register_with_unit("switchyard_process_memory_limit", help, Unit::Bytes, allowed);
        }
        Self { limit, resident }
    }

    /// Keeps what is shown true, and does nothing else. Runs for ever, unless it cannot be known.
    pub async fn show(&self) {
        let mut ticks = tokio::time::interval(EVERY);
        while let Ok(held) = resident() {
            self.resident.set(i64::try_from(held).unwrap_or(i64::MAX));
            ticks.tick().await;
        }
    }

    /// Fires `stop` once the process has come near its limit: the jobs that run finish, no new ones are taken, and whoever started the process starts
    /// it anew. Answers the evidence then, or nothing once somebody else has fired it. Without a limit it only looks.
    pub async fn watch(&self, stop: &CancellationToken) -> Option<String> {
        let most = self.limit.map(|limit| too_much(limit, resident().unwrap_or_default()));
        let mut found = 0;
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! { () = stop.cancelled() => return None, _ = ticks.tick() => {} }
            let held = match resident() {
                Ok(held) => held,
                Err(error) => {
                    tracing::warn!(%error, "cannot tell how much memory the process holds");
                    return None;
                }
            };
            self.resident.set(i64::try_from(held).unwrap_or(i64::MAX));
            found = if most.is_some_and(|most| held >= most) { found + 1 } else { 0 };
            if found == LOOKS {
                let limit = self.limit.unwrap_or_default();
                tracing::error!(
                    held,
                    limit,
                    "the process holds nearly all the memory that it may have: it finishes its jobs and ends, to be started anew; \
                     raise the pool's memory limit if this comes again"
                );
                stop.cancel();
                return Some(format!("it held {held} bytes of the {limit} that it may"));
            }
        }
    }
}

/// Bytes that are too much: 85 % of the limit. A process that begins with more than that, because its limit is tight, has half of what is left: it
/// would otherwise never do any work.
fn too_much(limit: u64, at_start: u64) -> u64 {
    (limit / 100 * 85).max(u64::midpoint(at_start.min(limit), limit))
}

/// Bytes of memory that the process holds.
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
        assert_eq!(too_much(1000 * MIB, 200 * MIB) / MIB, 850);
        assert_eq!(too_much(1000 * MIB, 900 * MIB) / MIB, 950);
        assert_eq!(too_much(1000 * MIB, 2000 * MIB) / MIB, 1000);
    }

    #[tokio::test]
    async fn a_process_near_its_limit_is_asked_to_end_and_no_other() {
        let mut registry = Registry::default();
        let stop = CancellationToken::new();
        let evidence = Memory::register(&mut registry, Some(1)).watch(&stop).await;
        assert!(stop.is_cancelled());
        assert!(evidence.unwrap().contains("of the 1 that it may"));
        for limit in [None, Some(u64::MAX / 2)] {
            let (stop, memory) = (CancellationToken::new(), Memory::register(&mut Registry::default(), limit));
            let looked = tokio::time::timeout(3 * EVERY, memory.watch(&stop)).await;
            assert!(looked.is_err() && !stop.is_cancelled());
            assert!(memory.resident.get() > 1 << 20);
        }
    }
}
