//! What keeps one instance of the operator from writing when another may have taken over.
//!
//! Nothing on the API server's side ties a write to the Lease, so the holder sees to it that no write of its own can take effect later than
//! [`EXPIRE`] after it asked for its last renewal, which is the earliest that another can begin: none starts once that is [`GIVE_UP`] ago, and
//! each is given what is left of the Lease, by the client, by the kernel's buffers ([`UNSENT`]) and by the API server itself (`timeout`).

use std::{sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use tokio::{sync::watch, time::Instant};

/// Without a renewal for this long the holder stops.
pub const GIVE_UP: Duration = Duration::from_secs(10);
/// Without a change for this long a candidate takes over.
pub const EXPIRE: Duration = Duration::from_secs(15);
/// Bytes that the other end does not acknowledge for this long are given up by the kernel, together with their connection. Without that they would
/// lie in its buffers, even after the process has ended, and arrive when a broken network heals.
pub const UNSENT: Duration = Duration::from_secs(2);
/// For clocks that run unevenly and for the way back.
const SLACK: Duration = Duration::from_millis(500);

/// A moment by two clocks. The monotonic one stands still while the machine sleeps, the other does not.
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

    /// The time since, by the clock that says more.
    pub fn elapsed(&self) -> Duration {
        let now = Self::now();
        now.monotonic.duration_since(self.monotonic).max(now.since_boot.saturating_sub(self.since_boot))
    }
}

#[derive(Debug, Default)]
struct State {
    /// When the last renewal that succeeded was asked for; none while the lease is not held.
    renewed: Option<Moment>,
    /// Writes that are on their way.
    in_flight: usize,
    /// Until then a write may take effect whose answer was not waited for.
    doubtful: Option<Instant>,
}

/// Lets writes through while the lease is held; clones share it. A new one is closed.
#[derive(Debug, Clone, Default)]
pub struct Fence(Arc<watch::Sender<State>>);

impl Fence {
    /// The lease is held by a request that was sent at `asked`.
    pub fn renewed(&self, asked: Moment) {
        self.0.send_modify(|state| state.renewed = Some(asked));
    }

    /// Lets no further write through.
    pub fn close(&self) {
        self.0.send_modify(|state| state.renewed = None);
    }

    /// Begins a write; none when it must not be made.
    pub fn begin(&self) -> Option<Write> {
        let mut begun = None;
        self.0.send_modify(|state| {
            let Some(age) = state.renewed.map(|renewed| renewed.elapsed()).filter(|age| *age < GIVE_UP) else { return };
            state.in_flight += 1;
            begun = Some((EXPIRE - age, Moment::now()));
        });
        begun.map(|(expires, begun)| Write { fence: self.clone(), begun, expires, answered: false })
    }

    /// Waits until no write is on its way.
    pub async fn drained(&self) {
        // It ends early when the sender is gone, and `self` holds that.
        let _ = self.0.subscribe().wait_for(|state| state.in_flight == 0).await;
    }

    /// Whether no write of the past can still take effect, so that another may begin at once.
    pub fn is_clear(&self) -> bool {
        let state = self.0.borrow();
        state.in_flight == 0 && state.doubtful.is_none_or(|until| until < Instant::now())
    }
}

/// A write that is on its way. One that is dropped before [`Write::answered`] may take effect for a while yet.
#[derive(Debug)]
pub struct Write {
    fence: Fence,
    begun: Moment,
    /// The time from `begun` on after which another may hold the lease.
    expires: Duration,
    answered: bool,
}

impl Write {
    /// The time that the whole call may take, from now on.
    pub fn left(&self) -> Duration {
        self.expires.saturating_sub(UNSENT + SLACK).saturating_sub(self.begun.elapsed())
    }

    /// The API server has said what came of it.
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
                state.doubtful = Some(state.doubtful.map_or(until, |other| other.max(until)));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_may_begin_for_ten_seconds_and_never_lasts_until_another_can_hold_the_lease() {
        let fence = Fence::default();
        assert!(fence.begin().is_none(), "the lease was never held");
        fence.renewed(Moment::now());
        for second in 0..20u64 {
            let left = fence.begin().map(|write| write.left());
            assert_eq!(left.is_some(), second < 10, "{second} s after the renewal");
            if let Some(left) = left {
                assert!(
                    !left.is_zero() && Duration::from_secs(second) + left + UNSENT < EXPIRE,
                    "{second} s: {left:?}"
                );
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_answered_is_doubtful_until_the_lease_would_have_expired() {
        let fence = Fence::default();
        fence.renewed(Moment::now());
        fence.begin().expect("held").answered();
        assert!(fence.is_clear());
        let write = fence.begin().expect("held");
        fence.close();
        assert!(fence.begin().is_none() && !fence.is_clear());
        drop(write);
        assert!(!fence.is_clear());
        tokio::time::advance(EXPIRE + Duration::from_millis(1)).await;
        assert!(fence.is_clear());
    }
}
