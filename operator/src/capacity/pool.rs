//! What a pool can take.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_contract::{Kind, Lane};

use crate::{
    capacity::demand::Target,
    crd::WorkerPoolSpec,
    spec::{defaults, pool::pool_replicas, replicas::Replicas},
};

/// The wait that a scaled pool aims at when its spec names no target.
pub const DEFAULT_WAIT_SECONDS: f64 = 30.0;

/// Slots, by lane.
pub type Slots = BTreeMap<Lane, f64>;

/// What of a `WorkerPool` its size follows from.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub name: String,
    pub kind: Kind,
    pub lanes: BTreeSet<Lane>,
    /// Slots of a pod, at least 1.
    pub concurrency: u32,
    pub size: Size,
}

/// How many pods a pool has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    Fixed(u32),
    /// As many as wanted, between these bounds.
    Scaled {
        min: u32,
        max: u32,
        target: Target,
    },
}

impl Pool {
    /// The pool `name` as its spec says.
    pub fn of(name: &str, spec: &WorkerPoolSpec) -> Self {
        let count = |pods: i32| u32::try_from(pods).unwrap_or(0);
        let concurrency = spec.concurrency.map_or_else(|| defaults::concurrency(spec.kind), count).max(1);
        let scaling = spec.scaling.as_ref();
        let target = match scaling.and_then(|scaling| scaling.target_backlog) {
            Some(jobs) => Target::Backlog(f64::from(jobs.max(1)) / f64::from(concurrency)),
            #[expect(clippy::cast_precision_loss, reason = "at most 999,999 hours")]
            None => Target::Wait(
                scaling.and_then(|scaling| scaling.target_wait).map_or(DEFAULT_WAIT_SECONDS, |wait| wait.0 as f64),
            ),
        };
        Self {
            name: name.to_owned(),
            kind: spec.kind,
            lanes: spec
                .lanes
                .as_ref()
                .map_or_else(|| Lane::ALL.iter().copied().collect(), |lanes| lanes.iter().copied().collect()),
            concurrency,
            size: match pool_replicas(spec) {
                Replicas::Fixed(pods) => Size::Fixed(count(pods)),
                Replicas::Scaled { min, max } => Size::Scaled { min: count(min), max: count(max), target },
            },
        }
    }

    /// Pods, as a fraction, that hold `slots` of the lanes that the pool serves.
    ///
    /// A worker begins a job only where it leaves a slot free for critical and for each better lane that it serves and holds no job of, as far as it
    /// has slots, so a pod is full for the worst lane before all its slots are taken. With `p` pods and `slots[b]` jobs of a better lane spread over
    /// them, some `p - slots[b]` hold none of it: `p x concurrency = all slots + p (critical) + the sum over b of max(0, p - slots[b])`.
    /// Grows with each lane's slots, and in proportion to all of them together.
    pub fn pods_for(&self, slots: &Slots) -> f64 {
        let held = |lane: &Lane| slots.get(lane).copied().unwrap_or(0.0);
        let Some(worst) = self.lanes.iter().rev().find(|lane| held(lane) > 0.0) else { return 0.0 };
        let mut taken: f64 = self.lanes.iter().map(held).sum();
        let mut usable = self.concurrency.max(1);
        if *worst != Lane::Critical && self.lanes.contains(&Lane::Critical) && usable > 1 {
            usable -= 1;
        }
        let mut better: Vec<f64> =
            self.lanes.range(..worst).filter(|lane| **lane != Lane::Critical).map(held).collect();
        better.sort_by(f64::total_cmp);
        for slots in better {
            if usable > 1 && slots < taken / f64::from(usable) {
                taken -= slots;
                usable -= 1;
            }
        }
        taken / f64::from(usable)
    }
}
