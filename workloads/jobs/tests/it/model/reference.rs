//! The expected behaviour, as a state machine on plain values without a clock and without
//! concurrency.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    model::{JobState, Origin, Queue},
    store::Policy,
};

use super::{
    job::{ClaimNumber, Job, Number, Turn},
    outcome::{EmittedEvent, Outcome},
    tenant::{Entry, Tenant},
};

/// Jobs in the order of their turns.
type InTurn = Vec<(Turn, Number)>;

/// The whole platform.
#[derive(Debug, Clone)]
pub struct Reference {
    pub policy: Policy,
    pub tenants: Vec<Tenant>,
    pub jobs: BTreeMap<Number, Job>,
    pub paused: BTreeSet<(&'static str, &'static str)>,
    /// Number of the current operation.
    pub step: u64,
    /// Events that this step emitted.
    pub emitted: BTreeSet<EmittedEvent>,
    /// Pipelines that the analysis admitted in this step may share.
    pub leaders: BTreeSet<Number>,
    pub created: Number,
    pub claims: ClaimNumber,
}

impl Reference {
    pub fn new(policy: Policy, tenants: Vec<Tenant>) -> Self {
        Self {
            policy,
            tenants,
            jobs: BTreeMap::new(),
            paused: BTreeSet::new(),
            step: 0,
            emitted: BTreeSet::new(),
            leaders: BTreeSet::new(),
            created: 0,
            claims: 0,
        }
    }

    pub fn add(&mut self, job: Job) -> Number {
        let number = self.created;
        self.created += 1;
        self.jobs.insert(number, job);
        number
    }

    pub fn job(&mut self, number: Number) -> &mut Job {
        self.jobs.get_mut(&number).expect("the job exists")
    }

    pub fn followers(&self, leader: Number) -> Vec<Number> {
        self.jobs
            .iter()
            .filter(|(_, job)| job.follows() && job.leader == Some(leader))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Number of queued analyses of a lane, followers included.
    pub fn queued_in(&self, lane: Lane) -> u32 {
        let queued = |job: &&Job| job.kind == Kind::General && job.lane == lane && job.state == JobState::Queued;
        u32::try_from(self.jobs.values().filter(queued).count()).expect("the count is small")
    }

    /// The job of a claim, if the token is valid.
    pub fn holder(&self, claim: ClaimNumber) -> Option<Number> {
        self.jobs.iter().find(|(_, job)| job.held == Some(claim)).map(|(number, _)| *number)
    }

    /// Records the new state of an analysis, also for its followers while it runs.
    pub fn record(&mut self, number: Number) {
        let job = self.job(number);
        if job.parent.is_some() {
            return;
        }
        let (progress, started, ended) = (job.progress, job.started, job.ended());
        self.emit(number);
        if !ended {
            for follower in self.followers(number) {
                let shares = self.job(follower);
                shares.progress = shares.progress.max(progress);
                if started {
                    shares.started = true;
                    shares.state = JobState::Waiting;
                }
                self.emit(follower);
            }
        }
    }

    pub fn emit(&mut self, number: Number) {
        let job = self.job(number);
        let (state, progress) = (job.state.public(), job.progress);
        job.events.push((state, progress));
        let seq = i64::try_from(job.events.len()).expect("the count is small") + 1;
        self.emitted.insert(EmittedEvent { job: number, seq, state: state.to_owned(), progress });
    }

    /// Claims up to `limit` jobs. Joins come first, because they already count against the lane;
    /// other jobs follow as far as `maxRunning` allows.
    pub fn claim(&mut self, kind: Kind, lane: Lane, limit: usize) -> Outcome {
        if self.paused.contains(&(kind.as_str(), lane.as_str())) {
            return Outcome::Claimed(Vec::new());
        }
        let (mut joins, mut fresh) = self.claimable(kind, lane);
        joins.truncate(limit);
        fresh.truncate(self.runs_left(kind, lane).min(limit - joins.len()));
        let mut taken = [joins, fresh].concat();
        taken.sort_unstable();
        let claimed = taken.into_iter().map(|(_, number)| self.start(number)).collect();
        Outcome::Claimed(claimed)
    }

    /// Claimable joins, and claimable starts and retries, each in turn order.
    fn claimable(&self, kind: Kind, lane: Lane) -> (InTurn, InTurn) {
        let (mut joins, mut fresh) = (Vec::new(), Vec::new());
        for (number, job) in &self.jobs {
            if job.kind != kind || job.lane != lane || job.follows() {
                continue;
            }
            match job.state {
                JobState::Waiting if job.open == 0 => joins.push((job.turn, *number)),
                JobState::Queued => fresh.push((job.turn, *number)),
                JobState::Retrying if job.due => fresh.push((job.turn, *number)),
                _ => {}
            }
        }
        joins.sort_unstable();
        fresh.sort_unstable();
        (joins, fresh)
    }

    /// Number of analyses that the lane may still start. Children are not limited: their analysis
    /// counts.
    fn runs_left(&self, kind: Kind, lane: Lane) -> usize {
        if kind != Kind::General {
            return usize::MAX;
        }
        let occupying = |job: &&Job| job.parent.is_none() && job.lane == lane && job.occupies_lane();
        let maximum = self.policy.lanes.get(lane).max_running as usize;
        maximum.saturating_sub(self.jobs.values().filter(occupying).count())
    }

    /// Queues that need tickets, with their numbers of claimable jobs.
    pub fn claimable_queues(&self) -> BTreeSet<(String, u32)> {
        let mut queues = BTreeSet::new();
        for (kind, lane) in Kind::ALL.iter().flat_map(|kind| Lane::ALL.iter().map(move |lane| (*kind, *lane))) {
            let (joins, fresh) = self.claimable(kind, lane);
            let count = joins.len() + fresh.len().min(self.runs_left(kind, lane));
            if count > 0 && !self.paused.contains(&(kind.as_str(), lane.as_str())) {
                queues.insert((Queue { kind, lane }.to_string(), u32::try_from(count).expect("the count is small")));
            }
        }
        queues
    }

    fn start(&mut self, number: Number) -> (Number, i32, Option<Vec<bool>>) {
        let claim = self.claims;
        self.claims += 1;
        let job = self.job(number);
        job.state = JobState::Running;
        job.attempt = job.failures + 1;
        job.started = true;
        job.held = Some(claim);
        job.expired = None;
        let (attempt, spawned) = (job.attempt, job.spawned);
        self.record(number);
        let of_it = |job: &&Job| job.parent == Some(number);
        let mut children: Vec<_> = self.jobs.values().filter(of_it).collect();
        children.sort_unstable_by_key(|child| child.ordinal);
        let ends = children.iter().map(|child| child.state == JobState::Completed).collect();
        (number, attempt, spawned.then_some(ends))
    }

    pub fn heartbeat(&mut self, claims: &BTreeSet<ClaimNumber>) -> Outcome {
        let held: BTreeSet<Number> = claims.iter().filter_map(|claim| self.holder(*claim)).collect();
        for number in &held {
            self.job(*number).expired = None;
        }
        Outcome::Held(held)
    }

    pub fn expire(&mut self, claim: ClaimNumber) {
        let step = self.step;
        if let Some(number) = self.holder(claim) {
            self.job(number).expired = Some(step);
        }
    }

    /// Ends every attempt whose lease has expired, in the order of expiry.
    pub fn reap(&mut self) -> Outcome {
        let mut expired: Vec<(u64, ClaimNumber)> =
            self.jobs.values().filter_map(|job| Some((job.expired?, job.held?))).collect();
        expired.sort_unstable();
        Outcome::Reaped(expired.into_iter().map(|(_, claim)| self.fail(claim, false)).collect())
    }

    pub fn progress(&mut self, claim: ClaimNumber, percent: i16) -> Outcome {
        if let Some(number) = self.holder(claim)
            && self.jobs[&number].parent.is_none()
        {
            let job = self.job(number);
            job.progress = job.progress.max(percent);
            self.record(number);
        }
        Outcome::Done
    }

    /// Creates a job's children. Their turns are delayed, so they alternate with those of other
    /// jobs.
    pub fn spawn(&mut self, claim: ClaimNumber, children: &[(Kind, bool)]) -> Outcome {
        let Some(number) = self.holder(claim) else { return Outcome::Stale };
        let job = self.job(number);
        if job.spawned {
            return Outcome::Refused("a join may not spawn again");
        }
        job.state = JobState::Waiting;
        job.spawned = true;
        job.held = None;
        job.expired = None;
        job.children = i16::try_from(children.len()).expect("the count is small");
        job.open = job.children;
        let parent = job.clone();
        let timeout = self.policy.lanes.get(parent.lane).timeout_seconds;
        let mut before: BTreeMap<&str, u64> = BTreeMap::new();
        for (ordinal, (kind, required)) in children.iter().enumerate() {
            let position = before.entry(kind.as_str()).or_default();
            let turn = Turn(*position * timeout, self.step);
            *position += 1;
            let child = Job::queued(parent.tenant, Origin::Child, *kind, parent.lane, &parent.username, turn);
            self.add(Job { parent: Some(number), ordinal, required: *required, ..child });
        }
        self.record(number);
        Outcome::Done
    }

    pub fn release(&mut self, claim: ClaimNumber) -> Outcome {
        let Some(number) = self.holder(claim) else { return Outcome::Stale };
        let job = self.job(number);
        job.state = if job.spawned {
            JobState::Waiting
        } else if job.failures > 0 {
            JobState::Retrying
        } else {
            JobState::Queued
        };
        job.attempt = job.failures;
        job.due = true;
        job.held = None;
        job.expired = None;
        self.record(number);
        Outcome::Done
    }

    /// Makes every waiting retry due.
    pub fn make_retries_due(&mut self) {
        for job in self.jobs.values_mut() {
            job.due = true;
        }
    }

    pub fn pause(&mut self, kind: Kind, lane: Lane, paused: bool) {
        let queue = (kind.as_str(), lane.as_str());
        if paused {
            self.paused.insert(queue);
        } else {
            self.paused.remove(&queue);
        }
    }

    /// Checks the invariants of the reference itself.
    pub fn assert_consistent(&self) {
        for (number, tenant) in self.tenants.iter().enumerate() {
            let sum: i64 = tenant.ledger.iter().map(|Entry { amount, .. }| amount).sum();
            assert_eq!(tenant.credits, sum, "credits equal the ledger's sum");
            let open = |job: &&Job| job.tenant == number && job.origin == Origin::Api && !job.ended();
            assert_eq!(
                tenant.running as usize,
                self.jobs.values().filter(open).count(),
                "`running` equals the number of open analyses"
            );
            assert!(tenant.credits >= 0, "credits are not negative");
        }
        for (number, job) in &self.jobs {
            assert_eq!(job.state == JobState::Running, job.held.is_some(), "a job has a claim exactly while it runs");
            if let Some(parent) = job.parent {
                assert!(job.ended() || !self.jobs[&parent].ended(), "a child does not outlive its parent");
            }
            if let Some(leader) = job.leader.filter(|_| job.follows()) {
                let leader = &self.jobs[&leader];
                assert!(
                    !leader.ended() && leader.leader.is_none(),
                    "the leader of {number} is open and follows no job"
                );
            }
        }
    }
}
