//! What the database would say of the queues.

use std::collections::VecDeque;

use switchyard_contract::{Kind, Lane, QueueStats};

use crate::{Time, fleet::Fleet, seconds};

const LONG: Time = 300_000;
const SHORT: Time = 60_000;
/// The kind whose pool is simulated: one without a limit on jobs at once.
pub const KIND: Kind = Kind::Cdn;

/// A queue and what lately came of it.
#[derive(Debug, Default)]
pub struct Queue {
    /// Numbers and times of the jobs that wait, the oldest first.
    pub waiting: VecDeque<(usize, Time)>,
    came: VecDeque<Time>,
    /// When jobs ended, and how long each held a slot.
    ended: VecDeque<(Time, Time)>,
    /// Mean service time when jobs last ended, in seconds.
    service: Option<f64>,
}

impl Queue {
    /// A job has come.
    pub fn take(&mut self, job: usize, now: Time) {
        self.waiting.push_back((job, now));
        self.came.push_back(now);
    }

    /// A job that held a slot for `held` has ended.
    pub fn ended(&mut self, now: Time, held: Time) {
        self.ended.push_back((now, held));
    }

    /// What is known of it, where it is the queue of `lane`.
    pub fn facts(&mut self, lane: Lane, fleet: &Fleet, now: Time) -> QueueStats {
        let from = now.saturating_sub(LONG);
        while self.came.front().is_some_and(|at| *at <= from) {
            self.came.pop_front();
        }
        while self.ended.front().is_some_and(|(at, _)| *at <= from) {
            self.ended.pop_front();
        }
        let recent = now.saturating_sub(SHORT);
        let lately = self.came.iter().rev().take_while(|at| **at > recent).count();
        if !self.ended.is_empty() {
            self.service = Some(seconds(self.ended.iter().map(|(_, held)| held).sum()) / count(self.ended.len()));
        }
        QueueStats {
            kind: KIND,
            lane,
            paused: false,
            depth: i64::try_from(self.waiting.len()).unwrap_or(i64::MAX),
            oldest_age_seconds: self.waiting.front().map_or(0.0, |(_, since)| seconds(now - since)),
            running: i64::from(fleet.running(lane)),
            retrying: 0,
            due_soon: 0,
            waiting: 0,
            arrival_rate: count(self.came.len()) / seconds(LONG),
            recent_arrival_rate: Some(count(lately) / seconds(SHORT)),
            completion_rate: count(self.ended.len()) / seconds(LONG),
            service_seconds: self.service,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn count(jobs: usize) -> f64 {
    jobs as f64
}
