//! Lets whoever answers a caller know that a replica stood in for the primary, so that the answer may be a little old.

use std::cell::Cell;

tokio::task_local! {
    static STOOD_IN: Cell<bool>;
}

/// Runs `future` and says whether a replica answered anything in it that the primary should have: what was written last may be missing from such an
/// answer, so that "there is none" is not certain. A spawned task is not watched.
pub async fn noticed<F: Future>(future: F) -> (F::Output, bool) {
    STOOD_IN
        .scope(Cell::new(false), async {
            let output = future.await;
            (output, STOOD_IN.with(Cell::get))
        })
        .await
}

/// A replica stands in.
pub(super) fn note() {
    // Nobody may be listening.
    let _ = STOOD_IN.try_with(|stood_in| stood_in.set(true));
}
