//! The deadline of a task: the time after which its caller no longer waits for an answer.
//!
//! It is task-local, so that database calls deep below a request respect it. Spawned tasks do not
//! inherit it. Cf. deadlines of gRPC, <https://grpc.io/docs/guides/deadlines/>.

use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `future` under `deadline`, or under the current one if that is earlier.
///
/// Does not cancel `future`: callees read the deadline and respect it.
pub async fn scope<F: Future>(deadline: Instant, future: F) -> F::Output {
    let deadline = current().map_or(deadline, |outer| outer.min(deadline));
    DEADLINE.scope(deadline, future).await
}

/// The deadline of this task; `None` without one.
pub fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

/// Time left; zero past the deadline, `None` without one.
pub fn remaining() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// `limit`, or the time left if that is less.
pub fn cut(limit: Duration) -> Duration {
    remaining().map_or(limit, |left| left.min(limit))
}

/// Awaits `future` until the deadline; `None` if it passed.
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
    async fn inner_deadline_only_shortens() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(50), now + Duration::from_secs(90));
        let inside = |outer, inner| scope(outer, scope(inner, async { current() }));
        assert_eq!(inside(late, soon).await, Some(soon));
        assert_eq!(inside(soon, late).await, Some(soon));
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn limit_is_cut_to_the_time_left() {
        let limit = Duration::from_secs(7);
        assert_eq!(cut(limit), limit, "there is no deadline");
        let now = Instant::now();
        assert_eq!(scope(now, async { cut(limit) }).await, Duration::ZERO);
        assert_eq!(scope(now + Duration::from_secs(90), async { cut(limit) }).await, limit);
        let left = scope(now + Duration::from_secs(5), async { cut(limit) }).await;
        assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(1), "{left:?}");
    }
}
