//! Watches a job across broken streams as a browser does: it resumes after the last event it saw.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::caller::Caller;

/// The events that a watcher received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub job: Uuid,
    /// Sequence numbers in order of arrival.
    pub seqs: Vec<i64>,
    /// Whether it received the job's terminal state.
    pub ended: bool,
}

/// Delay between two attempts to open the stream.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Watches until the job's end or until `stop`.
pub async fn watch(caller: Caller, job: Uuid, stop: CancellationToken) -> Watch {
    let mut watch = Watch { job, seqs: Vec::new(), ended: false };
    while !watch.ended && !stop.is_cancelled() {
        tokio::select! {
            () = follow(&caller, &mut watch) => {}
            () = stop.cancelled() => break,
        }
        sleep(RETRY_DELAY).await;
    }
    watch
}

/// Reads one stream to its end.
async fn follow(caller: &Caller, watch: &mut Watch) {
    let after = watch.seqs.last().copied().unwrap_or(0);
    let Some(mut stream) = caller.events(watch.job, after).await else { return };
    let mut text = Vec::new();
    while let Ok(Some(bytes)) = stream.chunk().await {
        text.extend_from_slice(&bytes);
        // An empty line ends an event.
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            if let Some((seq, ended)) = read(&String::from_utf8_lossy(&block)) {
                watch.seqs.push(seq);
                watch.ended |= ended;
            }
        }
    }
}

/// The sequence number of the event, and whether its state is terminal; `None` for comments.
fn read(block: &str) -> Option<(i64, bool)> {
    let data = block.lines().find_map(|line| line.strip_prefix("data:"))?;
    let event: Value = serde_json::from_str(data.trim()).ok()?;
    let ended = matches!(event["state"].as_str()?, "completed" | "dead" | "cancelled");
    Some((event["seq"].as_i64()?, ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_parsed_and_comments_skipped() {
        assert_eq!(read("id: 3\ndata: {\"seq\":3,\"state\":\"running\"}\n\n"), Some((3, false)));
        assert_eq!(read("data: {\"seq\":4,\"state\":\"dead\"}\nid: 4\n\n"), Some((4, true)));
        assert_eq!(read(":\n\n"), None);
    }
}
