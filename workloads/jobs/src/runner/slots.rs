//! How many jobs a process runs at once, and of which lanes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use switchyard_contract::{Lane, Lanes};
use tokio::sync::Notify;

/// The rule, apart from any waiting: a lane may hold at most its own limit, and must leave a slot free for every better lane that holds none, as far as
/// there are slots at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    total: u32,
    /// From best to worst, with each lane's own limit.
    lanes: BTreeMap<Lane, u32>,
}

/// Jobs that each lane holds.
pub(super) type Held = BTreeMap<Lane, u32>;

impl Plan {
    /// `total` slots, at least one, for `served` lanes.
    pub(super) fn new(total: u32, served: &[Lane], limits: &Lanes) -> Self {
        let lanes = served.iter().map(|lane| (*lane, limits.get(*lane).concurrency.max(1))).collect();
        Self { total: total.max(1), lanes }
    }

    /// Whether `lane` may begin another job.
    pub(super) fn admits(&self, lane: Lane, held: &Held) -> bool {
        let holds = |lane: &Lane| held.get(lane).copied().unwrap_or(0);
        let Some(limit) = self.lanes.get(&lane) else { return false };
        let free = self.total.saturating_sub(held.values().sum());
        let idle_betters = self.lanes.range(..lane).filter(|(better, _)| holds(better) == 0).count();
        let reserved = u32::try_from(idle_betters).unwrap_or(u32::MAX).min(self.total - 1);
        free > reserved && holds(&lane) < *limit
    }
}

/// The slots of a process.
pub(super) struct Slots {
    plan: Plan,
    held: Mutex<Held>,
    /// Rings whenever a slot is taken or given back.
    changed: Notify,
}

/// A slot, given back when dropped.
pub(super) struct Slot {
    lane: Lane,
    slots: Arc<Slots>,
}

impl Slots {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self { plan, held: Mutex::default(), changed: Notify::new() })
    }

    pub(super) fn admits(&self, lane: Lane) -> bool {
        self.plan.admits(lane, &self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn take(self: &Arc<Self>, lane: Lane) -> Option<Slot> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.plan.admits(lane, &held) {
            return None;
        }
        *held.entry(lane).or_default() += 1;
        drop(held);
        self.changed.notify_waiters();
        Some(Slot { lane, slots: self.clone() })
    }

    /// Waits until `lane` may begin a job, or may not, as asked. Takes nothing.
    pub(super) async fn until(&self, lane: Lane, admitted: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between the two is heard.
            changed.as_mut().enable();
            if self.admits(lane) == admitted {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.lane) {
            *count = count.saturating_sub(1);
        }
        drop(held);
        self.slots.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(total: u32) -> Plan {
        Plan::new(total, Lane::ALL, &Lanes::default())
    }

    #[test]
    fn low_jobs_never_take_the_slots_that_better_lanes_need() {
        let plan = plan(8);
        let mut held = Held::new();
        let mut low = 0;
        while plan.admits(Lane::Low, &held) {
            low += 1;
            held.insert(Lane::Low, low);
        }
        assert_eq!(low, 4, "low's own limit");
        for lane in [Lane::Normal, Lane::High, Lane::Critical] {
            assert!(plan.admits(lane, &held), "{lane} has a slot although low took all it could");
        }
    }

    #[test]
    fn a_process_with_one_slot_serves_every_lane() {
        for lane in Lane::ALL {
            assert!(plan(1).admits(*lane, &Held::new()), "{lane}");
        }
    }

    #[test]
    fn a_lane_that_is_not_served_gets_nothing() {
        assert!(!Plan::new(4, &[Lane::Low], &Lanes::default()).admits(Lane::High, &Held::new()));
    }

    proptest! {
        /// However jobs begin and end: never more than there are slots, never more of a lane than its limit, and critical finds a free slot as long as it
        /// holds none and there are two slots or more.
        #[test]
        fn critical_never_waits_for_others(total in 2_u32..20, steps in prop::collection::vec((0_usize..4, any::<bool>()), 0..200)) {
            let plan = plan(total);
            let mut held = Held::new();
            for (lane, begins) in steps {
                let lane = Lane::ALL[lane];
                if begins && plan.admits(lane, &held) {
                    *held.entry(lane).or_default() += 1;
                } else if !begins && held.get(&lane).copied().unwrap_or(0) > 0 {
                    *held.entry(lane).or_default() -= 1;
                }
                prop_assert!(held.values().sum::<u32>() <= total);
                for (lane, count) in &held {
                    prop_assert!(*count <= Lanes::default().get(*lane).concurrency);
                }
                let holds = held.get(&Lane::Critical).copied().unwrap_or(0);
                prop_assert!(holds > 0 || plan.admits(Lane::Critical, &held));
            }
        }
    }
}
