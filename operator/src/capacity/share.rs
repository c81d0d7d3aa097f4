//! Divides the demand of the queues of one kind among its pools. Pure.

use std::{collections::BTreeMap, fmt};

use switchyard_contract::{Kind, Lane, Lanes, QueueStats};

use crate::{
    capacity::{
        demand::{Demand, Target},
        pool::{DEFAULT_WAIT_SECONDS, Pool, Size, Slots},
    },
    spec::replicas::ScalingBounds,
};

/// The desired number of pods of a scaled pool, with its derivation.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredPods {
    /// Pods within the bounds of the pool, as a fraction. This is the value of the metric.
    pub pods: f64,
    /// The bounds of the pool.
    pub bounds: ScalingBounds,
    /// The pool's share of the demand of each lane, in slots.
    pub slots: Slots,
    /// The demand of the lanes of the pool, for all pools together.
    pub demands: Vec<Demand>,
}

impl fmt::Display for DesiredPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (self.bounds.min(), self.bounds.max());
        write!(f, "{:.2} desired pods ({min} to {max}) for {:.1} slots", self.pods, self.slots.values().sum::<f64>())?;
        for demand in self.demands.iter().filter(|demand| demand.slots > 0.0) {
            let part = self.slots.get(&demand.lane).copied().unwrap_or(0.0);
            write!(f, "; {demand}; {part:.1} of them in this pool")?;
        }
        Ok(())
    }
}

/// The desired pods of each scaled pool of a platform, by name. `lanes` are the limits of the
/// platform.
///
/// A pool is absent if statistics are missing of any queue that pools of its kind serve. An
/// autoscaler changes nothing without a value; a value of 0 would make it scale in.
///
/// Fixed pools take their share first, since their slots exist anyway, and then the pools that
/// serve the fewest lanes. Pools that serve the same lanes share in proportion to their maximum
/// size. The shares of a lane never add up to more than its demand.
pub fn desired_pods(queues: &[QueueStats], pools: &[Pool], lanes: &Lanes) -> BTreeMap<String, DesiredPods> {
    Kind::ALL.iter().flat_map(|kind| of_kind(*kind, queues, pools, lanes)).collect()
}

fn of_kind(kind: Kind, queues: &[QueueStats], pools: &[Pool], lanes: &Lanes) -> Vec<(String, DesiredPods)> {
    let mut pools: Vec<&Pool> = pools.iter().filter(|pool| pool.kind == kind).collect();
    let stats: BTreeMap<Lane, &QueueStats> =
        queues.iter().filter(|stats| stats.kind == kind).map(|stats| (stats.lane, stats)).collect();
    if pools.iter().flat_map(|pool| &pool.lanes).any(|lane| !stats.contains_key(lane)) {
        return Vec::new();
    }
    let demands: BTreeMap<Lane, Demand> = stats
        .values()
        .map(|stats| (stats.lane, Demand::of(stats, &targets(stats.lane, &pools), lanes.get(stats.lane))))
        .collect();

    let mut left: Slots = demands.iter().map(|(lane, demand)| (*lane, demand.slots)).collect();
    pools.sort_by_key(|pool| (matches!(pool.size, Size::Scaled { .. }), pool.lanes.len(), &pool.lanes, &pool.name));
    let mut all = Vec::new();
    for group in pools.chunk_by(|a, b| a.lanes == b.lanes && is_fixed(a) == is_fixed(b)) {
        let here: Slots =
            left.iter().filter(|(lane, _)| group[0].lanes.contains(lane)).map(|(l, s)| (*l, *s)).collect();
        // The fraction of the remaining demand that each pool can hold at its maximum size.
        let parts: Vec<f64> = group.iter().map(|pool| part(most(pool), pool.pods_for(&here))).collect();
        let together: f64 = parts.iter().sum();
        for (pool, part) in group.iter().zip(&parts) {
            let taken = part / together.max(1.0);
            let slots: Slots = here.iter().map(|(lane, slots)| (*lane, slots * taken)).collect();
            if let Size::Scaled { bounds, .. } = pool.size {
                let demands = pool.lanes.iter().filter_map(|lane| demands.get(lane).copied()).collect();
                let pods = bounds.clamp(pool.pods_for(&slots));
                all.push((pool.name.clone(), DesiredPods { pods, bounds, slots, demands }));
            }
        }
        for lane in here.keys() {
            left.entry(*lane).and_modify(|slots| *slots *= 1.0 - together.min(1.0));
        }
    }
    all
}

/// The targets of the scaled pools that serve `lane`.
fn targets(lane: Lane, pools: &[&Pool]) -> Vec<Target> {
    let mut targets: Vec<Target> = pools
        .iter()
        .filter(|pool| pool.lanes.contains(&lane))
        .filter_map(|pool| match pool.size {
            Size::Scaled { target, .. } => Some(target),
            Size::Fixed(_) => None,
        })
        .collect();
    if targets.is_empty() {
        targets.push(Target::Wait(DEFAULT_WAIT_SECONDS));
    }
    targets
}

const fn is_fixed(pool: &Pool) -> bool {
    matches!(pool.size, Size::Fixed(_))
}

fn most(pool: &Pool) -> f64 {
    match pool.size {
        Size::Fixed(pods) => f64::from(pods),
        Size::Scaled { bounds, .. } => f64::from(bounds.max()),
    }
}

/// `most` as a fraction of `pods`; 1 if no pods are needed.
fn part(most: f64, pods: f64) -> f64 {
    if pods > 0.0 { most / pods } else { 1.0 }
}
