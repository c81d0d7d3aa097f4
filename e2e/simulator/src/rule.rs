//! The rules that compute the desired number of pods.

use std::collections::BTreeSet;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use switchyard_contract::{Lane, Lanes, QueueStats};
use switchyard_operator::{
    capacity::{
        Pool, Size, Target, desired_pods, hpa,
        zero::{Step, step},
    },
    spec::replicas::ScalingBounds,
};

use crate::{hpa::default_behavior, pattern::SERVICE, pods::CONCURRENCY, queue::KIND, time::Time};

/// Target wait of a job, in seconds.
pub const TARGET: f64 = 30.0;
/// How often the operator checks whether the pool scales to or from zero, in milliseconds.
const OPERATOR_INTERVAL: Time = 5_000;
/// KEDA's `pollingInterval`, in milliseconds.
const KEDA_POLLING_INTERVAL: Time = 30_000;
/// KEDA's `cooldownPeriod` before it scales to zero, in milliseconds.
const KEDA_COOLDOWN_PERIOD: Time = 300_000;

/// A scaling rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Switchyard's capacity model.
    Capacity,
    /// KEDA's RabbitMQ scaler in `QueueLength` mode: ready messages of the pool's queues, divided
    /// by this target per pod.
    QueueLength(f64),
}

impl Rule {
    /// The compared rules: Switchyard's, KEDA's with few messages per pod for short waits, and
    /// KEDA's with as many messages as a pod starts within the target. The last one requires a user
    /// who knows the service time.
    pub fn all() -> [Self; 3] {
        [Self::Capacity, Self::QueueLength(20.0), Self::QueueLength(f64::from(CONCURRENCY) * TARGET / SERVICE)]
    }

    /// Name in the report.
    pub fn name(self) -> String {
        match self {
            Self::Capacity => "Switchyard".into(),
            Self::QueueLength(each) => format!("KEDA, {each:.0} a pod"),
        }
    }

    /// The autoscaler's behavior under this rule.
    pub fn behavior(self) -> HorizontalPodAutoscalerBehavior {
        match self {
            Self::Capacity => hpa::behavior(),
            Self::QueueLength(_) => default_behavior(),
        }
    }

    /// How often the rule decides about scaling to and from zero.
    pub const fn activation_interval(self) -> Time {
        match self {
            Self::Capacity => OPERATOR_INTERVAL,
            Self::QueueLength(_) => KEDA_POLLING_INTERVAL,
        }
    }

    /// The metric in units of pods; `None` without statistics.
    pub fn metric(self, stats: Option<&[QueueStats]>, bounds: ScalingBounds) -> Option<f64> {
        let stats = stats?;
        match self {
            Self::Capacity => {
                let pool = pool(bounds);
                desired_pods(stats, std::slice::from_ref(&pool), &Lanes::default())
                    .get(&pool.name)
                    .map(|desired| desired.pods)
            }
            Self::QueueLength(each) => Some(f64::from(ready(stats)) / each),
        }
    }

    /// Scales to and from zero, which the autoscaler cannot do, and returns the replicas.
    ///
    /// `active` is the last time at which a message was ready.
    pub fn activation(
        self,
        stats: Option<&[QueueStats]>,
        bounds: ScalingBounds,
        pods: u32,
        now: Time,
        active: &mut Time,
    ) -> u32 {
        let Some(stats) = stats else { return pods };
        match self {
            Self::Capacity => {
                let pool = pool(bounds);
                let desired = desired_pods(stats, std::slice::from_ref(&pool), &Lanes::default());
                match step(&pool, pods, stats, desired.get(&pool.name)) {
                    Step::Leave => pods,
                    Step::Set(pods) => pods,
                }
            }
            Self::QueueLength(_) if ready(stats) > 0 => {
                *active = now;
                pods.max(1)
            }
            Self::QueueLength(_) if bounds.min() == 0 && now >= *active + KEDA_COOLDOWN_PERIOD => 0,
            Self::QueueLength(_) => pods,
        }
    }
}

/// Ready messages in all queues.
fn ready(stats: &[QueueStats]) -> u32 {
    stats.iter().map(|queue| u32::try_from(queue.depth).unwrap_or(0)).sum()
}

/// The simulated pool.
fn pool(bounds: ScalingBounds) -> Pool {
    let lanes: BTreeSet<Lane> = Lane::ALL.iter().copied().collect();
    let size = Size::Scaled { bounds, target: Target::Wait(TARGET) };
    Pool { name: "pool".into(), kind: KIND, lanes, concurrency: CONCURRENCY, size }
}
