//! Watches a job through whatever breaks, as a browser would: with the number of the last event that it saw.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::caller::Caller;

/// What a watcher was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub job: Uuid,
    /// Numbers of the events, as they came.
    pub seqs: Vec<i64>,
    /// Whether the last one told the job's end.
    pub ended: bool,
}

/// Between two attempts to get a stream.
const AGAIN: Duration = Duration::from_millis(200);

/// Watches until the job's end, or until there is no use in it any more.
pub async fn watch(caller: Caller, job: Uuid, stop: CancellationToken) -> Watch {
    let mut watch = Watch { job, seqs: Vec::new(), ended: false };
    while !watch.ended && !stop.is_cancelled() {
        tokio::select! {
            () = follow(&caller, &mut watch) => {}
            () = stop.cancelled() => break,
        }
        sleep(AGAIN).await;
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
        // A block of lines ends with an empty one.
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            if let Some((seq, ended)) = read(&String::from_utf8_lossy(&block)) {
                watch.seqs.push(seq);
                watch.ended |= ended;
            }
        }
    }
}

/// The number of a block's event, and whether it tells the end; `None` for comments.
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
    fn events_are_read_and_comments_are_not() {
        assert_eq!(read("id: 3\ndata: {\"seq\":3,\"state\":\"running\"}\n\n"), Some((3, false)));
        assert_eq!(read("data: {\"seq\":4,\"state\":\"dead\"}\nid: 4\n\n"), Some((4, true)));
        assert_eq!(read(":\n\n"), None);
    }
}
