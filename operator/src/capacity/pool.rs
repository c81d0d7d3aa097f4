//! The slots of a pool, and the pods that hold a given demand. Pure.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_contract::{Kind, Lane};

use crate::{
    capacity::demand::Target,
    crd::WorkerPoolSpec,
    spec::{
        defaults,
        pool::pool_replicas,
        replicas::{Replicas, ScalingBounds},
    },
};

/// Target wait of a scaled pool without a target in its spec, in seconds.
pub const DEFAULT_WAIT_SECONDS: f64 = 30.0;

/// Slots, by lane.
pub type Slots = BTreeMap<Lane, f64>;

/// The fields of a `WorkerPool` that determine its size.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub name: String,
    pub kind: Kind,
    pub lanes: BTreeSet<Lane>,
    /// Slots of one pod, at least 1.
    pub concurrency: u32,
    pub size: Size,
}

/// The number of pods of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// Exactly this many.
    Fixed(u32),
    /// As many as the load needs, within these bounds.
    Scaled { bounds: ScalingBounds, target: Target },
}

impl Pool {
    /// The pool `name` with this spec.
    pub fn of(name: &str, spec: &WorkerPoolSpec) -> Self {
        let count = |pods: i32| u32::try_from(pods).unwrap_or(0);
        let concurrency = spec.concurrency.map_or_else(|| defaults::concurrency(spec.kind), count).max(1);
        let scaling = spec.scaling.as_ref();
        let target = match scaling.and_then(|scaling| scaling.target_backlog) {
            Some(jobs) => Target::Backlog(f64::from(jobs.max(1)) / f64::from(concurrency)),
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
                Replicas::Scaled(bounds) => Size::Scaled { bounds, target },
            },
        }
    }

    /// The number of pods, as a fraction, that hold `slots` of the lanes of the pool.
    ///
    /// A worker keeps one slot free for the critical lane and one for each more urgent lane of
    /// which it runs no job, as far as it has slots. A pod is therefore full for the least urgent
    /// lane before all its slots are in use. With `p` pods and `slots[b]` jobs of a more urgent
    /// lane `b` spread over them, `p - slots[b]` pods run none of it:
    ///
    /// ```text
    /// p x concurrency = all slots + p (critical) + sum over b of max(0, p - slots[b])
    /// ```
    ///
    /// Increases with the slots of each lane, and is proportional to all of them together.
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
