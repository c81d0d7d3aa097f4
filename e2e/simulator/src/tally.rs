//! What came of a run.

use std::ops::Range;

use crate::{Time, rule::TARGET, seconds};

/// Counted while it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// When each job that started came, and the milliseconds until it did.
    pub waits: Vec<(Time, Time)>,
    /// Jobs that a full lane did not take.
    pub refused: u64,
    pub accepted: u64,
    pub completed: u64,
    pub interrupted: u64,
    /// Times and numbers of pods, whenever the number changed.
    pub sizes: Vec<(Time, u32)>,
    /// Milliseconds of all pods together.
    pub used: Time,
}

impl Tally {
    /// The wait in seconds that `percent` of the jobs do not pass; 0 where there was none.
    pub fn wait(&self, percent: usize) -> f64 {
        self.wait_of(percent, 0..Time::MAX)
    }

    /// The same of the jobs that came in `during`.
    pub fn wait_of(&self, percent: usize, during: Range<Time>) -> f64 {
        let mut waits: Vec<Time> =
            self.waits.iter().filter(|(came, _)| during.contains(came)).map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        let rank = (waits.len() * percent).div_ceil(100).max(1);
        waits.get(rank - 1).map_or(0.0, |wait| seconds(*wait))
    }

    /// Jobs in a hundred that waited for longer than the target.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn late(&self) -> f64 {
        let late = self.waits.iter().filter(|(_, wait)| seconds(*wait) > TARGET).count();
        100.0 * late as f64 / self.waits.len().max(1) as f64
    }

    /// Hours of all pods together.
    pub fn pod_hours(&self) -> f64 {
        seconds(self.used) / 3600.0
    }

    /// Times that the number of pods changed.
    pub const fn changes(&self) -> usize {
        self.sizes.len().saturating_sub(1)
    }

    /// Times that it went the other way than the time before.
    pub fn reversals(&self) -> usize {
        self.reversals_after(0)
    }

    /// The same, of what happened after `from`.
    pub fn reversals_after(&self, from: Time) -> usize {
        let steps = self.sizes.windows(2).filter(|pair| pair[1].0 > from);
        let ups: Vec<bool> = steps.map(|pair| pair[1].1 > pair[0].1).collect();
        ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Jobs that were accepted and came to no end.
    pub const fn lost(&self) -> u64 {
        self.accepted - self.completed - self.interrupted
    }
}
