//! The results of a simulation.

use std::ops::Range;

use crate::{
    rule::TARGET,
    time::{Time, seconds},
};

/// Counters of a simulation and the figures derived from them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Arrival time and wait of each job that started.
    pub waits: Vec<(Time, Time)>,
    /// Jobs that a full lane refused.
    pub refused: u64,
    pub accepted: u64,
    pub completed: u64,
    /// Jobs whose pod ended before them.
    pub interrupted: u64,
    /// Time and new number of pods at each change.
    pub sizes: Vec<(Time, u32)>,
    /// Total run time of all pods.
    pub pod_time: Time,
}

impl Tally {
    /// The given percentile of the waits, in seconds; 0 without jobs.
    pub fn wait(&self, percent: usize) -> f64 {
        self.wait_of(percent, 0..Time::MAX)
    }

    /// The given percentile of the waits of jobs that arrived in `during`, in seconds.
    pub fn wait_of(&self, percent: usize, during: Range<Time>) -> f64 {
        let mut waits: Vec<Time> =
            self.waits.iter().filter(|(arrived, _)| during.contains(arrived)).map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        let rank = (waits.len() * percent).div_ceil(100).max(1);
        waits.get(rank - 1).map_or(0.0, |wait| seconds(*wait))
    }

    /// Percentage of jobs that waited longer than the target.
    pub fn late(&self) -> f64 {
        let late = self.waits.iter().filter(|(_, wait)| seconds(*wait) > TARGET).count();
        100.0 * late as f64 / self.waits.len().max(1) as f64
    }

    /// Total run time of all pods, in hours.
    pub fn pod_hours(&self) -> f64 {
        seconds(self.pod_time) / 3600.0
    }

    /// How often the number of pods changed.
    pub const fn changes(&self) -> usize {
        self.sizes.len().saturating_sub(1)
    }

    /// How often a change went in the opposite direction of the one before.
    pub fn reversals(&self) -> usize {
        self.reversals_after(0)
    }

    /// The reversals among the changes after `from`.
    pub fn reversals_after(&self, from: Time) -> usize {
        let steps = self.sizes.windows(2).filter(|pair| pair[1].0 > from);
        let ups: Vec<bool> = steps.map(|pair| pair[1].1 > pair[0].1).collect();
        ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Accepted jobs that neither completed nor were interrupted.
    pub const fn lost(&self) -> u64 {
        self.accepted - self.completed - self.interrupted
    }
}
