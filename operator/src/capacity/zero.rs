//! To no pods and back. A `HorizontalPodAutoscaler` leaves a Deployment of no pods alone and cannot ask for none, so the operator does both.

use switchyard_contract::QueueStats;

use crate::capacity::{
    pool::{Pool, Size},
    share::DesiredPods,
};

/// What the operator is to do with a pool's number of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is for the autoscaler, or nothing is known.
    Leave,
    /// Set it to this, 0 or what the pool needs to begin with.
    Set(u32),
}

/// The step for a pool that has `pods` now. `desired` is None when nothing is known.
///
/// None to some at once when something is to be done. One to none, never more than one, when nothing waits, runs, is due within a minute or
/// waits for its parts, and nothing came or ended for as long as the rates of the facts look back, five minutes: that is the cool-down, and it needs no
/// memory.
pub fn step(pool: &Pool, pods: u32, queues: &[QueueStats], desired: Option<&DesiredPods>) -> Step {
    let Size::Scaled { min, max, .. } = pool.size else { return Step::Leave };
    let Some(desired) = desired else { return Step::Leave };
    match pods {
        0 if desired.pods > 0.0 => Step::Set(min.clamp(1, max.max(1))),
        1 if min == 0 && is_idle(pool, queues) => Step::Set(0),
        _ => Step::Leave,
    }
}

/// Whether facts of each of its queues are there and all say that nothing is going on, nor has been for five minutes. Else a pool that has pods keeps one:
/// KEDA calls that active.
pub fn is_idle(pool: &Pool, queues: &[QueueStats]) -> bool {
    let ours = || queues.iter().filter(|facts| facts.kind == pool.kind && pool.lanes.contains(&facts.lane));
    let quiet = |facts: &QueueStats| {
        let jobs = [facts.running, facts.due_soon, facts.waiting];
        // A paused lane's jobs wait for a person, not for a pod.
        let waits = facts.depth > 0 && !facts.paused;
        !waits
            && jobs.iter().all(|jobs| *jobs <= 0)
            && [facts.arrival_rate, facts.completion_rate].iter().all(|rate| *rate == 0.0)
    };
    pool.lanes.iter().all(|lane| ours().any(|facts| facts.lane == *lane)) && ours().all(quiet)
}
