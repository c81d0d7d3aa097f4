//! The slots of a worker process, and which lanes may take them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use switchyard_contract::Lane;
use tokio::sync::watch;

/// Which lanes may take slots.
///
/// A lane leaves a slot free for every higher lane that uses none, and always one for critical, as
/// far as there are slots. So critical never waits for the others, and no lane is starved by higher
/// ones. The store enforces the limits of the whole platform when jobs are claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotPolicy {
    total: u32,
    lanes: BTreeSet<Lane>,
}

/// Slots in use, by lane.
pub(super) type SlotsInUse = BTreeMap<Lane, u32>;

impl SlotPolicy {
    /// `total` slots, at least one, for the lanes `served`.
    pub(super) fn new(total: u32, served: &[Lane]) -> Self {
        Self { total: total.max(1), lanes: served.iter().copied().collect() }
    }

    /// Slots that `lane` may take.
    pub(super) fn room(&self, lane: Lane, in_use: &SlotsInUse) -> u32 {
        if !self.lanes.contains(&lane) {
            return 0;
        }
        let used = |lane: &Lane| in_use.get(lane).copied().unwrap_or(0);
        let free = self.total.saturating_sub(in_use.values().sum());
        let reserved =
            self.lanes.range(..lane).filter(|higher| **higher == Lane::Critical || used(higher) == 0).count();
        let reserved = u32::try_from(reserved).unwrap_or(u32::MAX).min(self.total - 1);
        free.saturating_sub(reserved)
    }

    /// Lanes that may take another slot.
    fn admitted(&self, in_use: &SlotsInUse) -> Vec<Lane> {
        self.lanes.iter().copied().filter(|lane| self.room(*lane, in_use) > 0).collect()
    }
}

/// The slots of a process.
pub(super) struct Slots {
    policy: SlotPolicy,
    /// Wakes waiting lanes only when `admitted` changes, not for every slot.
    state: watch::Sender<State>,
}

struct State {
    in_use: SlotsInUse,
    admitted: Vec<Lane>,
}

/// A slot in use; it is free again when dropped.
pub(super) struct Slot {
    lane: Lane,
    slots: Arc<Slots>,
}

impl Slots {
    pub(super) fn new(policy: SlotPolicy) -> Arc<Self> {
        let in_use = SlotsInUse::new();
        let admitted = policy.admitted(&in_use);
        Arc::new(Self { policy, state: watch::Sender::new(State { in_use, admitted }) })
    }

    /// Slots that `lane` may take now.
    pub(super) fn room(&self, lane: Lane) -> u32 {
        self.policy.room(lane, &self.state.borrow().in_use)
    }

    /// Takes as many slots for `lane` as it may, `limit` at most.
    pub(super) fn take(self: &Arc<Self>, lane: Lane, limit: u32) -> Vec<Slot> {
        let mut taken = 0;
        self.change(|in_use| {
            taken = self.policy.room(lane, in_use).min(limit);
            *in_use.entry(lane).or_default() += taken;
        });
        (0..taken).map(|_| Slot { lane, slots: self.clone() }).collect()
    }

    /// Waits until `lane` may take a slot, or until it may not, as `admitted` says. Takes none.
    pub(super) async fn until(&self, lane: Lane, admitted: bool) {
        // `self` owns the sender, so this does not fail.
        let _ = self.state.subscribe().wait_for(|state| state.admitted.contains(&lane) == admitted).await;
    }

    fn change(&self, change: impl FnOnce(&mut SlotsInUse)) {
        self.state.send_if_modified(|state| {
            change(&mut state.in_use);
            let admitted = self.policy.admitted(&state.in_use);
            let differs = admitted != state.admitted;
            state.admitted = admitted;
            differs
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.change(|in_use| {
            if let Some(count) = in_use.get_mut(&self.lane) {
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

    fn policy(total: u32) -> SlotPolicy {
        SlotPolicy::new(total, Lane::ALL)
    }

    #[test]
    fn low_jobs_leave_slots_for_higher_lanes() {
        let slots = Slots::new(policy(8));
        let low = slots.take(Lane::Low, 100);
        assert_eq!(low.len(), 5);
        for lane in [Lane::Normal, Lane::High, Lane::Critical] {
            assert_eq!(slots.room(lane), available_slots(lane), "{lane} has a slot although low took all it could");
        }
    }

    /// Of three free slots, those that are not reserved for higher lanes.
    fn available_slots(lane: Lane) -> u32 {
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
            assert_eq!(policy(1).room(*lane, &SlotsInUse::new()), 1, "{lane}");
        }
    }

    #[test]
    fn lane_that_is_not_served_gets_no_slot() {
        assert_eq!(SlotPolicy::new(4, &[Lane::Low]).room(Lane::High, &SlotsInUse::new()), 0);
    }

    #[tokio::test]
    async fn waiting_lane_wakes_when_a_slot_is_freed() {
        let slots = Slots::new(policy(4));
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
        /// However jobs start and end: the other lanes leave critical a slot if there are two or
        /// more, and no other lane may take the last free slot.
        #[test]
        fn critical_never_waits_for_others(total in 2_u32..20, steps in prop::collection::vec((0_usize..4, 0_u32..8, any::<bool>()), 0..200)) {
            let slots = Slots::new(policy(total));
            let mut taken = BTreeMap::<Lane, Vec<Slot>>::new();
            for (lane, count, starts) in steps {
                let lane = Lane::ALL[lane];
                let slots_of_lane = taken.entry(lane).or_default();
                if starts {
                    slots_of_lane.extend(slots.take(lane, count));
                } else {
                    slots_of_lane.truncate(slots_of_lane.len().saturating_sub(count as usize));
                }
                let in_use = |lane| taken.get(&lane).map_or(0, Vec::len);
                let (all, critical) = (Lane::ALL.iter().map(|lane| in_use(*lane)).sum::<usize>(), in_use(Lane::Critical));
                prop_assert!(all - critical < total as usize, "the others leave one");
                prop_assert_eq!(slots.room(Lane::Critical) as usize, total as usize - all);
                for lane in &Lane::ALL[1..] {
                    prop_assert!(slots.room(*lane) == 0 || total as usize - all > 1, "{lane}");
                }
            }
        }
    }
}
