//! Queues in which nothing goes on, but for what a test changes.

use switchyard_contract::{Kind, Lane, QueueFacts};

pub fn quiet(kind: Kind, lane: Lane) -> QueueFacts {
    QueueFacts {
        kind,
        lane,
        paused: false,
        depth: 0,
        oldest_age_seconds: 0.0,
        running: 0,
        retrying: 0,
        due_soon: 0,
        waiting: 0,
        arrival_rate: 0.0,
        recent_arrival_rate: None,
        completion_rate: 0.0,
        service_seconds: None,
    }
}

/// All queues of a kind, of which `change` changes the one of `lane`.
pub fn queues(kind: Kind, lane: Lane, change: impl Fn(&mut QueueFacts)) -> Vec<QueueFacts> {
    let mut all: Vec<QueueFacts> = Lane::ALL.iter().map(|lane| quiet(kind, *lane)).collect();
    all.iter_mut().filter(|facts| facts.lane == lane).for_each(change);
    all
}
