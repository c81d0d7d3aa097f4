//! The moment after which nobody waits for an answer any more. It travels with the task, so that what is called deep below knows of it unasked.
//!
//! A spawned task does not inherit it.

use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `future` under `deadline`, or under the one that holds already where that is earlier. It is told to those who ask, not enforced.
pub async fn scope<F: Future>(deadline: Instant, future: F) -> F::Output {
    let deadline = current().map_or(deadline, |outer| outer.min(deadline));
    DEADLINE.scope(deadline, future).await
}

/// The deadline of this task; `None` when it may take as long as it likes.
pub fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

/// Time left; zero past the deadline, `None` without one.
pub fn remaining() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// `limit`, or the time left where that is less.
pub fn cut(limit: Duration) -> Duration {
    remaining().map_or(limit, |left| left.min(limit))
}

/// Waits for `future` no longer than the deadline allows; `None` when that was too short.
pub async fn within<F: Future>(future: F) -> Option<F::Output> {
    match current() {
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_inner_deadline_only_shortens() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(50), now + Duration::from_secs(90));
        let inside = |outer, inner| scope(outer, scope(inner, async { current() }));
        assert_eq!(inside(late, soon).await, Some(soon));
        assert_eq!(inside(soon, late).await, Some(soon));
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn a_limit_is_cut_to_what_is_left() {
        let limit = Duration::from_secs(7);
        assert_eq!(cut(limit), limit, "without a deadline nothing is cut");
        let now = Instant::now();
        assert_eq!(scope(now, async { cut(limit) }).await, Duration::ZERO);
        assert_eq!(scope(now + Duration::from_secs(90), async { cut(limit) }).await, limit);
        let left = scope(now + Duration::from_secs(5), async { cut(limit) }).await;
        assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(1), "{left:?}");
    }
}
