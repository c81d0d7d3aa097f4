//! Which pool takes how much of what the queues of its kind ask for.

use std::{collections::BTreeMap, fmt};

use switchyard_contract::{Kind, Lane, Lanes, QueueStats};

use crate::capacity::{
    demand::{Ask, Target},
    pool::{DEFAULT_WAIT_SECONDS, Pool, Size, Slots},
};

/// Pods that a scaled pool should have, with how they come about.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredPods {
    /// Pods within the pool's bounds, as a fraction: the metric, whose target is 1 for each pod.
    pub pods: f64,
    /// The pool's bounds.
    pub bounds: (u32, u32),
    /// The part of each lane's slots that falls to the pool.
    pub slots: Slots,
    /// What the lanes that it serves ask for of all pools together.
    pub asks: Vec<Ask>,
}

impl fmt::Display for DesiredPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = self.bounds;
        write!(f, "{:.2} pods wanted ({min} to {max}) for {:.1} slots", self.pods, self.slots.values().sum::<f64>())?;
        for ask in self.asks.iter().filter(|ask| ask.slots > 0.0) {
            let part = self.slots.get(&ask.lane).copied().unwrap_or(0.0);
            write!(f, "; {ask}; {part:.1} of them here")?;
        }
        Ok(())
    }
}

/// What each scaled pool of a platform should have, by name. `lanes` are the platform's limits.
///
/// A pool is left out when facts are missing of any queue that pools of its kind serve: no value lets an autoscaler hold, 0 would make it scale in.
///
/// Fixed pools come first, since their slots are there anyway, then those that serve fewest lanes, since that is what they are for; pools that serve
/// the same lanes share in proportion to what they can take at most. The shares of a lane never add up to more than it asks for.
pub fn desired_pods(queues: &[QueueStats], pools: &[Pool], lanes: &Lanes) -> BTreeMap<String, DesiredPods> {
    Kind::ALL.iter().flat_map(|kind| of_kind(*kind, queues, pools, lanes)).collect()
}

fn of_kind(kind: Kind, queues: &[QueueStats], pools: &[Pool], lanes: &Lanes) -> Vec<(String, DesiredPods)> {
    let mut pools: Vec<&Pool> = pools.iter().filter(|pool| pool.kind == kind).collect();
    let facts: BTreeMap<Lane, &QueueStats> =
        queues.iter().filter(|facts| facts.kind == kind).map(|facts| (facts.lane, facts)).collect();
    if pools.iter().flat_map(|pool| &pool.lanes).any(|lane| !facts.contains_key(lane)) {
        return Vec::new();
    }
    let asks: BTreeMap<Lane, Ask> = facts
        .values()
        .map(|facts| (facts.lane, Ask::of(facts, &targets(facts.lane, &pools), lanes.get(facts.lane))))
        .collect();

    let mut left: Slots = asks.iter().map(|(lane, ask)| (*lane, ask.slots)).collect();
    pools.sort_by_key(|pool| (matches!(pool.size, Size::Scaled { .. }), pool.lanes.len(), &pool.lanes, &pool.name));
    let mut all = Vec::new();
    for group in pools.chunk_by(|a, b| a.lanes == b.lanes && is_fixed(a) == is_fixed(b)) {
        let here: Slots =
            left.iter().filter(|(lane, _)| group[0].lanes.contains(lane)).map(|(l, s)| (*l, *s)).collect();
        // The part of what is left that each of them can take, had it as many pods as it may have.
        let parts: Vec<f64> = group.iter().map(|pool| part(most(pool), pool.pods_for(&here))).collect();
        let together: f64 = parts.iter().sum();
        for (pool, part) in group.iter().zip(&parts) {
            let taken = part / together.max(1.0);
            let slots: Slots = here.iter().map(|(lane, slots)| (*lane, slots * taken)).collect();
            if let Size::Scaled { min, max, .. } = pool.size {
                let needed = pool.pods_for(&slots).min(f64::from(max));
                let asks = pool.lanes.iter().filter_map(|lane| asks.get(lane).copied()).collect();
                let pods = needed.max(f64::from(min.min(max)));
                all.push((pool.name.clone(), DesiredPods { pods, bounds: (min, max), slots, asks }));
            }
        }
        for lane in here.keys() {
            left.entry(*lane).and_modify(|slots| *slots *= 1.0 - together.min(1.0));
        }
    }
    all
}

/// What the scaled pools that serve `lane` aim at.
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
        Size::Fixed(pods) | Size::Scaled { max: pods, .. } => f64::from(pods),
    }
}

/// `most` of `pods`. Where no pods are needed everything there is can be taken.
fn part(most: f64, pods: f64) -> f64 {
    if pods > 0.0 { most / pods } else { 1.0 }
}
