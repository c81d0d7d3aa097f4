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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_inner_deadline_only_shortens() {
        let now = Instant::now();
        let left = |seconds| async move {
            scope(now + Duration::from_secs(5), async {
                scope(now + Duration::from_secs(seconds), async { remaining() }).await
            })
            .await
        };
        assert_eq!(left(3).await, Some(Duration::from_secs(3)));
        assert_eq!(left(9).await, Some(Duration::from_secs(5)));
        assert_eq!(remaining(), None);
        assert_eq!(cut(Duration::from_secs(7)), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_deadline_nothing_is_left() {
        let deadline = Instant::now() + Duration::from_secs(1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(scope(deadline, async { cut(Duration::from_secs(7)) }).await, Duration::ZERO);
    }
}
