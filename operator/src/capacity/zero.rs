//! Scaling to zero and back. Pure.
//!
//! A `HorizontalPodAutoscaler` ignores a Deployment with no replicas and cannot scale to zero, so
//! the operator takes these two steps unless KEDA scales the pool. KEDA splits the work in the same
//! way: it activates and deactivates, and the autoscaler scales between one and the maximum
//! (<https://keda.sh/docs/latest/concepts/scaling-deployments/>).

use switchyard_contract::QueueStats;

use crate::capacity::{
    pool::{Pool, Size},
    share::DesiredPods,
};

/// The change that the operator makes to the replicas of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// None: the autoscaler scales the pool, or the load is unknown.
    Leave,
    /// Set the replicas to 0, or to the minimum to start with.
    Set(u32),
}

/// Returns the step for a pool that has `pods` pods. `desired` is `None` if the load is unknown.
///
/// Scales up from zero as soon as there is demand. Scales from one pod to zero when the pool is
/// idle; the autoscaler scales to one before. The window of the rates, five minutes, is the
/// cooldown, so the operator keeps no state.
pub fn step(pool: &Pool, pods: u32, queues: &[QueueStats], desired: Option<&DesiredPods>) -> Step {
    let Size::Scaled { bounds, .. } = pool.size else { return Step::Leave };
    let Some(desired) = desired else { return Step::Leave };
    match pods {
        0 if desired.pods > 0.0 => Step::Set(bounds.at_least_one().min().cast_unsigned()),
        1 if bounds.min() == 0 && is_idle(pool, queues) => Step::Set(0),
        _ => Step::Leave,
    }
}

/// Whether the statistics of all queues of the pool are known and show no job and no activity for
/// five minutes. KEDA calls a scaler that is not idle active.
pub fn is_idle(pool: &Pool, queues: &[QueueStats]) -> bool {
    let ours = || queues.iter().filter(|stats| stats.kind == pool.kind && pool.lanes.contains(&stats.lane));
    let quiet = |stats: &QueueStats| {
        let jobs = [stats.running, stats.due_soon, stats.waiting];
        // The jobs of a paused lane wait for an administrator, not for a pod.
        let waits = stats.depth > 0 && !stats.paused;
        !waits
            && jobs.iter().all(|jobs| *jobs <= 0)
            && [stats.arrival_rate, stats.completion_rate].iter().all(|rate| *rate == 0.0)
    };
    pool.lanes.iter().all(|lane| ours().any(|stats| stats.lane == *lane)) && ours().all(quiet)
}
