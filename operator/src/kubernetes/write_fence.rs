//! The write fence: stops the writes of an instance that may have lost leadership.
//!
//! The API server does not tie a write to the Lease, and takes no fencing token. The leader
//! therefore bounds each write in time. Another instance can lead [`LEASE_DURATION`] after the
//! leader requested its last renewal, at the earliest. So no write starts later than
//! [`RENEW_DEADLINE`] after that request, and each has only the rest of the lease. Three parties
//! enforce that limit: the client, the kernel, which drops unacknowledged bytes
//! ([`TCP_USER_TIMEOUT`]), and the API server, which honours the query parameter `timeout`.
//!
//! A paused VM is the exception, since its clocks stop too. After resuming, it may write for up to
//! 2 s, until its next renewal.

use std::{sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use tokio::{sync::watch, time::Instant};

/// The leader stops after this long without a renewal. `RenewDeadline` in client-go.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// A candidate takes over after this long without a change of the Lease. `LeaseDuration` in
/// client-go.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// The kernel closes a connection whose bytes are not acknowledged for this long
/// (`TCP_USER_TIMEOUT`, RFC 5482). Otherwise they would stay in its buffers, even after the process
/// has ended, and arrive when a broken network recovers.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);
/// Margin for clock drift and for the response on its way back.
const MARGIN: Duration = Duration::from_millis(500);

/// A moment on two clocks. `CLOCK_MONOTONIC` stops while the machine is suspended, `CLOCK_BOOTTIME`
/// does not.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    monotonic: Instant,
    since_boot: Duration,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self { monotonic: Instant::now(), since_boot: Duration::new(seconds, nanoseconds) }
    }

    /// Time since this moment, by the clock that shows more.
    pub fn elapsed(&self) -> Duration {
        let now = Self::now();
        now.monotonic.duration_since(self.monotonic).max(now.since_boot.saturating_sub(self.since_boot))
    }
}

#[derive(Debug, Default)]
struct State {
    /// When the last successful renewal was requested. `None` while the lease is not held.
    renewed: Option<Moment>,
    /// Writes in flight.
    in_flight: usize,
    /// Until then an abandoned write may still take effect.
    uncertain_until: Option<Instant>,
}

/// Lets writes pass while the lease is held. Clones share it. A new fence is closed.
#[derive(Debug, Clone, Default)]
pub struct Fence(Arc<watch::Sender<State>>);

impl Fence {
    /// Opens the fence: the renewal that was requested at `requested` succeeded.
    pub fn renewed(&self, requested: Moment) {
        self.0.send_modify(|state| state.renewed = Some(requested));
    }

    /// Closes the fence.
    pub fn close(&self) {
        self.0.send_modify(|state| state.renewed = None);
    }

    /// Begins a write. `None` if it must not be sent.
    pub fn begin(&self) -> Option<Write> {
        let mut begun = None;
        self.0.send_modify(|state| {
            let Some(age) = state.renewed.map(|renewed| renewed.elapsed()).filter(|age| *age < RENEW_DEADLINE) else {
                return;
            };
            state.in_flight += 1;
            begun = Some((LEASE_DURATION.saturating_sub(age), Moment::now()));
        });
        begun.map(|(expires, begun)| Write { fence: self.clone(), begun, expires, answered: false })
    }

    /// Waits until no write is in flight.
    pub async fn drained(&self) {
        // `self` owns the sender, so the channel is open.
        let _ = self.0.subscribe().wait_for(|state| state.in_flight == 0).await;
    }

    /// Whether no earlier write can still take effect, so that the next leader may start at once.
    pub fn is_clear(&self) -> bool {
        let state = self.0.borrow();
        state.in_flight == 0 && state.uncertain_until.is_none_or(|until| until < Instant::now())
    }
}

/// A write in flight. If it is dropped before [`Write::answered`], it may still take effect until
/// the lease expires.
#[derive(Debug)]
pub struct Write {
    fence: Fence,
    begun: Moment,
    /// Time from `begun` until another instance may hold the lease.
    expires: Duration,
    answered: bool,
}

impl Write {
    /// Time that is left for the whole call.
    pub fn left(&self) -> Duration {
        self.expires.saturating_sub(TCP_USER_TIMEOUT + MARGIN).saturating_sub(self.begun.elapsed())
    }

    /// The API server has answered, so the write has taken effect or never will.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.fence.0.send_modify(|state| {
            state.in_flight -= 1;
            if !self.answered {
                let until = self.begun.monotonic + self.expires;
                state.uncertain_until = Some(state.uncertain_until.map_or(until, |other| other.max(until)));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn write_starts_within_renew_deadline_and_ends_before_the_lease() {
        let fence = Fence::default();
        assert!(fence.begin().is_none(), "the lease was never held");
        fence.renewed(Moment::now());
        for second in 0..20u64 {
            let left = fence.begin().map(|write| write.left());
            assert_eq!(left.is_some(), second < 10, "{second} s after the renewal");
            if let Some(left) = left {
                assert!(
                    !left.is_zero() && Duration::from_secs(second) + left + TCP_USER_TIMEOUT < LEASE_DURATION,
                    "{second} s: {left:?}"
                );
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unanswered_write_is_uncertain_until_the_lease_expires() {
        let fence = Fence::default();
        fence.renewed(Moment::now());
        fence.begin().expect("held").answered();
        assert!(fence.is_clear());
        let write = fence.begin().expect("held");
        fence.close();
        assert!(fence.begin().is_none() && !fence.is_clear());
        drop(write);
        assert!(!fence.is_clear());
        tokio::time::advance(LEASE_DURATION + Duration::from_millis(1)).await;
        assert!(fence.is_clear());
    }
}
