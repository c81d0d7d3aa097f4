//! Tracks whether a replica answered in place of the primary, so that the API can mark stale
//! answers.

use std::cell::Cell;

tokio::task_local! {
    static REPLICA_ANSWERED: Cell<bool>;
}

/// Runs `future`, and returns with its output whether a replica answered a read of it in place of
/// the primary.
///
/// Such an answer may lack the latest writes; an empty one is not conclusive. Spawned tasks are not
/// tracked.
pub async fn track_stale_reads<F: Future>(future: F) -> (F::Output, bool) {
    REPLICA_ANSWERED
        .scope(Cell::new(false), async {
            let output = future.await;
            (output, REPLICA_ANSWERED.with(Cell::get))
        })
        .await
}

/// Records that a replica answered in place of the primary.
pub(super) fn record_stale_read() {
    // Fails outside of `track_stale_reads`.
    let _ = REPLICA_ANSWERED.try_with(|answered| answered.set(true));
}
