//! Fixtures: statistics of idle queues with changes.

use switchyard_contract::{Kind, Lane, QueueStats};

/// All queues of a kind; `change` modifies the one of `lane`.
pub fn queues(kind: Kind, lane: Lane, change: impl Fn(&mut QueueStats)) -> Vec<QueueStats> {
    let mut all: Vec<QueueStats> = Lane::ALL.iter().map(|lane| QueueStats::quiet(kind, *lane)).collect();
    all.iter_mut().filter(|stats| stats.lane == lane).for_each(change);
    all
}
