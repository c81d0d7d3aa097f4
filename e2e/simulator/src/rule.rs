//! How it is found out how many pods are wanted.

use std::collections::BTreeSet;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use switchyard_contract::{Lane, Lanes, QueueStats};
use switchyard_operator::capacity::{
    Pool, Size, Target, desired_pods, hpa,
    zero::{Step, step},
};

use crate::{Time, facts::KIND, fleet::CONCURRENCY, hpa::default_behavior, pattern::SERVICE};

/// Seconds that a job should wait at most.
pub const TARGET: f64 = 30.0;
/// How often the operator looks at the facts, and KEDA at whether there is something to do at all.
const OURS_LOOKS: Time = 5_000;
const KEDA_LOOKS: Time = 30_000;
/// How long nothing must have been ready before KEDA lets go of the last pods.
const KEDA_COOLS: Time = 300_000;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Switchyard's capacity.
    Capacity,
    /// KEDA's RabbitMQ scaler in its plain form: ready messages of all the pool's queues, divided by so many for each pod.
    QueueLength(f64),
}

impl Rule {
    /// The rules to set side by side: ours, KEDA's with few messages for each pod, as somebody takes who wants short waits, and with as many as a pod starts
    /// within the target, which whoever sets it up has to know and to keep up to date.
    pub fn all() -> [Self; 3] {
        [Self::Capacity, Self::QueueLength(20.0), Self::QueueLength(f64::from(CONCURRENCY) * TARGET / SERVICE)]
    }

    /// As people call it.
    pub fn name(self) -> String {
        match self {
            Self::Capacity => "Switchyard".into(),
            Self::QueueLength(each) => format!("KEDA, {each:.0} a pod"),
        }
    }

    /// How the autoscaler is told to behave.
    pub fn behavior(self) -> HorizontalPodAutoscalerBehavior {
        match self {
            Self::Capacity => hpa::behavior(),
            Self::QueueLength(_) => default_behavior(),
        }
    }

    /// From one look at whether there should be any pods to the next.
    pub const fn looks_every(self) -> Time {
        match self {
            Self::Capacity => OURS_LOOKS,
            Self::QueueLength(_) => KEDA_LOOKS,
        }
    }

    /// Pods wanted, as the metric says it.
    pub fn metric(self, facts: Option<&[QueueStats]>, bounds: (u32, u32)) -> Option<f64> {
        let facts = facts?;
        match self {
            Self::Capacity => {
                let pool = pool(bounds);
                desired_pods(facts, std::slice::from_ref(&pool), &Lanes::default())
                    .get(&pool.name)
                    .map(|wanted| wanted.pods)
            }
            Self::QueueLength(each) => Some(f64::from(ready(facts)) / each),
        }
    }

    /// What is done beside the autoscaler: to no pods and back. `active` is when something was last ready.
    pub fn aside(
        self,
        facts: Option<&[QueueStats]>,
        bounds: (u32, u32),
        pods: u32,
        now: Time,
        active: &mut Time,
    ) -> u32 {
        let Some(facts) = facts else { return pods };
        match self {
            Self::Capacity => {
                let pool = pool(bounds);
                let wanted = desired_pods(facts, std::slice::from_ref(&pool), &Lanes::default());
                match step(&pool, pods, facts, wanted.get(&pool.name)) {
                    Step::Leave => pods,
                    Step::Set(pods) => pods,
                }
            }
            Self::QueueLength(_) if ready(facts) > 0 => {
                *active = now;
                pods.max(1)
            }
            Self::QueueLength(_) if bounds.0 == 0 && now >= *active + KEDA_COOLS => 0,
            Self::QueueLength(_) => pods,
        }
    }
}

fn ready(facts: &[QueueStats]) -> u32 {
    facts.iter().map(|facts| u32::try_from(facts.depth).unwrap_or(0)).sum()
}

fn pool((min, max): (u32, u32)) -> Pool {
    let lanes: BTreeSet<Lane> = Lane::ALL.iter().copied().collect();
    let size = Size::Scaled { min, max, target: Target::Wait(TARGET) };
    Pool { name: "pool".into(), kind: KIND, lanes, concurrency: CONCURRENCY, size }
}
