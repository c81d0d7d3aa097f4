//! How many jobs a process runs at once, and of which lanes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use switchyard_contract::Lane;
use tokio::sync::watch;

/// The rule, apart from any waiting: a lane must leave a slot free for every better lane that holds none, and always one for critical, as far as there are
/// slots at all. So critical never waits behind the others, however many it holds, and none of the others is starved by its better neighbours. How many
/// jobs of a lane run on the whole platform is not a process' to know: the store sees to it when they are claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    total: u32,
    lanes: BTreeSet<Lane>,
}

/// Jobs that each lane holds.
pub(super) type Held = BTreeMap<Lane, u32>;

impl Plan {
    /// `total` slots, at least one, for `served` lanes.
    pub(super) fn new(total: u32, served: &[Lane]) -> Self {
        Self { total: total.max(1), lanes: served.iter().copied().collect() }
    }

    /// How many more jobs `lane` may begin.
    pub(super) fn room(&self, lane: Lane, held: &Held) -> u32 {
        if !self.lanes.contains(&lane) {
            return 0;
        }
        let holds = |lane: &Lane| held.get(lane).copied().unwrap_or(0);
        let free = self.total.saturating_sub(held.values().sum());
        let waited_for =
            self.lanes.range(..lane).filter(|better| **better == Lane::Critical || holds(better) == 0).count();
        let reserved = u32::try_from(waited_for).unwrap_or(u32::MAX).min(self.total - 1);
        free.saturating_sub(reserved)
    }

    /// The lanes that may begin another job.
    fn admitted(&self, held: &Held) -> Vec<Lane> {
        self.lanes.iter().copied().filter(|lane| self.room(*lane, held) > 0).collect()
    }
}

/// The slots of a process.
pub(super) struct Slots {
    plan: Plan,
    /// Who waits is woken only when a lane becomes admitted or ceases to be so, not by every job that begins or ends.
    state: watch::Sender<State>,
}

struct State {
    held: Held,
    admitted: Vec<Lane>,
}

/// A slot, given back when dropped.
pub(super) struct Slot {
    lane: Lane,
    slots: Arc<Slots>,
}

impl Slots {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        let held = Held::new();
        let admitted = plan.admitted(&held);
        Arc::new(Self { plan, state: watch::Sender::new(State { held, admitted }) })
    }

    /// How many more jobs `lane` may begin now.
    pub(super) fn room(&self, lane: Lane) -> u32 {
        self.plan.room(lane, &self.state.borrow().held)
    }

    /// Takes slots for `lane`: as many as it may have, at most `most`.
    pub(super) fn take(self: &Arc<Self>, lane: Lane, most: u32) -> Vec<Slot> {
        let mut taken = 0;
        self.change(|held| {
            taken = self.plan.room(lane, held).min(most);
            *held.entry(lane).or_default() += taken;
        });
        (0..taken).map(|_| Slot { lane, slots: self.clone() }).collect()
    }

    /// Waits until `lane` may begin a job, or may not, as asked. Takes nothing.
    pub(super) async fn until(&self, lane: Lane, admitted: bool) {
        // An error would mean that the slots are gone, and they are here.
        let _ = self.state.subscribe().wait_for(|state| state.admitted.contains(&lane) == admitted).await;
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        self.state.send_if_modified(|state| {
            change(&mut state.held);
            let admitted = self.plan.admitted(&state.held);
            let differs = admitted != state.admitted;
            state.admitted = admitted;
            differs
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.change(|held| {
            if let Some(count) = held.get_mut(&self.lane) {
                *count = count.saturating_sub(1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;

    fn plan(total: u32) -> Plan {
        Plan::new(total, Lane::ALL)
    }

    #[test]
    fn low_jobs_never_take_the_slots_that_better_lanes_need() {
        let slots = Slots::new(plan(8));
        let low = slots.take(Lane::Low, 100);
        assert_eq!(low.len(), 5);
        for lane in [Lane::Normal, Lane::High, Lane::Critical] {
            assert_eq!(slots.room(lane), lane_s_part(lane), "{lane} has a slot although low took all it could");
        }
    }

    /// Of three free slots, what is not kept for better lanes.
    fn lane_s_part(lane: Lane) -> u32 {
        match lane {
            Lane::Critical => 3,
            Lane::High => 2,
            Lane::Normal => 1,
            Lane::Low => 0,
        }
    }

    #[test]
    fn a_process_with_one_slot_serves_every_lane() {
        for lane in Lane::ALL {
            assert_eq!(plan(1).room(*lane, &Held::new()), 1, "{lane}");
        }
    }

    #[test]
    fn a_lane_that_is_not_served_gets_nothing() {
        assert_eq!(Plan::new(4, &[Lane::Low]).room(Lane::High, &Held::new()), 0);
    }

    #[tokio::test]
    async fn who_waits_for_a_slot_wakes_when_one_is_given_back() {
        let slots = Slots::new(plan(4));
        let mut all = slots.take(Lane::Critical, 100);
        assert_eq!(all.len(), 4);
        slots.until(Lane::Low, false).await;
        let waiting = tokio::spawn({
            let slots = slots.clone();
            async move { slots.until(Lane::Critical, true).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        all.pop();
        timeout(Duration::from_secs(10), waiting).await.expect("woken").unwrap();
        // The last free slot is for critical alone.
        assert_eq!((slots.room(Lane::Critical), slots.room(Lane::High), slots.room(Lane::Normal)), (1, 0, 0));
    }

    proptest! {
        /// However jobs begin and end, alone or many at once: never more than there are slots, the others leave critical one where there are two or more,
        /// and no other lane may begin a job in the last free slot.
        #[test]
        fn critical_never_waits_for_others(total in 2_u32..20, steps in prop::collection::vec((0_usize..4, 0_u32..8, any::<bool>()), 0..200)) {
            let slots = Slots::new(plan(total));
            let mut held = BTreeMap::<Lane, Vec<Slot>>::new();
            for (lane, many, begins) in steps {
                let lane = Lane::ALL[lane];
                let of = held.entry(lane).or_default();
                if begins {
                    of.extend(slots.take(lane, many));
                } else {
                    of.truncate(of.len().saturating_sub(many as usize));
                }
                let count = |lane| held.get(&lane).map_or(0, Vec::len);
                let (all, critical) = (Lane::ALL.iter().map(|lane| count(*lane)).sum::<usize>(), count(Lane::Critical));
                prop_assert!(all - critical < total as usize, "the others leave one");
                prop_assert_eq!(slots.room(Lane::Critical) as usize, total as usize - all);
                for lane in &Lane::ALL[1..] {
                    prop_assert!(slots.room(*lane) == 0 || total as usize - all > 1, "{lane}");
                }
            }
        }
    }
}
