//! What must happen, as a state machine on plain values: no clock, no concurrency, nothing but the rules.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    model::{JobState, Origin, Queue},
    store::Policy,
};

use super::{
    outcome::{EmittedEvent, Outcome},
    tenants::{Entry, Tenant},
};

/// A job by the order in which jobs were made.
pub type Number = usize;
/// A claim by the order in which claims were made; stands for the run token.
pub type ClaimNumber = usize;

/// When it is a job's turn: seconds by which it was put off, then the step that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(pub u64, pub u64);

/// Jobs whose turns come one after the other.
type InTurn = Vec<(Turn, Number)>;

#[derive(Debug, Clone)]
pub struct Job {
    pub tenant: usize,
    pub parent: Option<Number>,
    pub ordinal: usize,
    pub required: bool,
    pub origin: Origin,
    pub kind: Kind,
    pub lane: Lane,
    pub state: JobState,
    pub username: String,
    pub price: i64,
    pub round: i32,
    pub attempt: i32,
    pub failures: i32,
    pub progress: i16,
    pub started: bool,
    /// Whether it has spawned, so that its next claim joins.
    pub kept: bool,
    pub children: i16,
    pub open: i16,
    pub held: Option<ClaimNumber>,
    /// The step in which its lease ran out.
    pub expired: Option<u64>,
    /// Whether its next attempt is due.
    pub due: bool,
    pub turn: Turn,
    pub leader: Option<Number>,
    pub discarded: bool,
    pub output: bool,
    /// All events after the first, which everyone has.
    pub events: Vec<(&'static str, i16)>,
}

impl Job {
    /// A job that waits for its first claim.
    pub fn queued(tenant: usize, origin: Origin, kind: Kind, lane: Lane, username: &str, turn: Turn) -> Self {
        Self {
            tenant,
            parent: None,
            ordinal: 0,
            required: true,
            origin,
            kind,
            lane,
            state: JobState::Queued,
            username: username.to_owned(),
            price: 0,
            round: 0,
            attempt: 0,
            failures: 0,
            progress: 0,
            started: false,
            kept: false,
            children: 0,
            open: 0,
            held: None,
            expired: None,
            due: true,
            turn,
            leader: None,
            discarded: false,
            output: false,
            events: Vec::new(),
        }
    }

    pub fn ended(&self) -> bool {
        self.state.is_terminal()
    }

    /// Whether it shares the pipeline of another one, so that nobody claims it.
    pub fn follows(&self) -> bool {
        self.leader.is_some() && !self.ended()
    }

    /// Whether it holds one of its lane's places.
    fn busy(&self) -> bool {
        matches!(self.state, JobState::Running | JobState::Waiting) && !self.follows()
    }
}

/// The whole platform.
#[derive(Debug, Clone)]
pub struct Reference {
    pub policy: Policy,
    pub tenants: Vec<Tenant>,
    pub jobs: BTreeMap<Number, Job>,
    pub paused: BTreeSet<(&'static str, &'static str)>,
    /// Counts operations; what is made later has a higher one.
    pub step: u64,
    /// Events of this step.
    pub emitted: BTreeSet<EmittedEvent>,
    /// Pipelines that the analysis admitted in this step may share.
    pub leaders: BTreeSet<Number>,
    pub made: Number,
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
            made: 0,
            claims: 0,
        }
    }

    pub fn add(&mut self, job: Job) -> Number {
        let number = self.made;
        self.made += 1;
        self.jobs.insert(number, job);
        number
    }

    pub fn job(&mut self, number: Number) -> &mut Job {
        self.jobs.get_mut(&number).expect("the reference knows its jobs")
    }

    pub fn followers(&self, leader: Number) -> Vec<Number> {
        self.jobs
            .iter()
            .filter(|(_, job)| job.follows() && job.leader == Some(leader))
            .map(|(number, _)| *number)
            .collect()
    }

    /// How many analyses wait in a lane for their first claim, or for that of the one whose pipeline they share.
    pub fn queued_in(&self, lane: Lane) -> u32 {
        let queued = |job: &&Job| job.kind == Kind::General && job.lane == lane && job.state == JobState::Queued;
        u32::try_from(self.jobs.values().filter(queued).count()).expect("few")
    }

    /// The job that a claim still holds.
    pub fn holder(&self, claim: ClaimNumber) -> Option<Number> {
        self.jobs.iter().find(|(_, job)| job.held == Some(claim)).map(|(number, _)| *number)
    }

    /// Records the new state of an analysis, also for those that share its running pipeline.
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
        let seq = i64::try_from(job.events.len()).expect("few") + 1;
        self.emitted.insert(EmittedEvent { job: number, seq, state: state.to_owned(), progress });
    }

    /// Gives a worker the jobs whose turn it is: those that only join first, for they have their place, then others as far as there are places.
    pub fn claim(&mut self, kind: Kind, lane: Lane, most: usize) -> Outcome {
        if self.paused.contains(&(kind.as_str(), lane.as_str())) {
            return Outcome::Claimed(Vec::new());
        }
        let (mut joins, mut fresh) = self.claimable(kind, lane);
        joins.truncate(most);
        fresh.truncate(self.places(kind, lane).min(most - joins.len()));
        let mut taken = [joins, fresh].concat();
        taken.sort_unstable();
        let claimed = taken.into_iter().map(|(_, number)| self.start(number)).collect();
        Outcome::Claimed(claimed)
    }

    /// What only joins, and what begins or begins again, each in turn.
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

    /// How many more analyses of a lane may begin; parts run at the expense of theirs.
    fn places(&self, kind: Kind, lane: Lane) -> usize {
        if kind != Kind::General {
            return usize::MAX;
        }
        let busy = |job: &&Job| job.parent.is_none() && job.lane == lane && job.busy();
        let places = self.policy.lanes.get(lane).max_running as usize;
        places.saturating_sub(self.jobs.values().filter(busy).count())
    }

    /// Queues that need tickets, with the number of claimable jobs.
    pub fn claimable_queues(&self) -> BTreeSet<(String, u32)> {
        let mut queues = BTreeSet::new();
        for (kind, lane) in Kind::ALL.iter().flat_map(|kind| Lane::ALL.iter().map(move |lane| (*kind, *lane))) {
            let (joins, fresh) = self.claimable(kind, lane);
            let count = joins.len() + fresh.len().min(self.places(kind, lane));
            if count > 0 && !self.paused.contains(&(kind.as_str(), lane.as_str())) {
                queues.insert((Queue { kind, lane }.to_string(), u32::try_from(count).expect("few")));
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
        let (attempt, kept) = (job.attempt, job.kept);
        self.record(number);
        let of_it = |job: &&Job| job.parent == Some(number);
        let mut children: Vec<_> = self.jobs.values().filter(of_it).collect();
        children.sort_unstable_by_key(|child| child.ordinal);
        let ends = children.iter().map(|child| child.state == JobState::Completed).collect();
        (number, attempt, kept.then_some(ends))
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

    /// Ends every attempt whose lease has run out, in the order in which they did.
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

    /// Makes a job's children, which take turns with those of others.
    pub fn spawn(&mut self, claim: ClaimNumber, children: &[(Kind, bool)]) -> Outcome {
        let Some(number) = self.holder(claim) else { return Outcome::Stale };
        let job = self.job(number);
        if job.kept {
            return Outcome::Refused("a join may not spawn again");
        }
        job.state = JobState::Waiting;
        job.kept = true;
        job.held = None;
        job.expired = None;
        job.children = i16::try_from(children.len()).expect("few");
        job.open = job.children;
        let parent = job.clone();
        let timeout = self.policy.lanes.get(parent.lane).timeout_seconds;
        let mut before: BTreeMap<&str, u64> = BTreeMap::new();
        for (ordinal, (kind, required)) in children.iter().enumerate() {
            let place = before.entry(kind.as_str()).or_default();
            let turn = Turn(*place * timeout, self.step);
            *place += 1;
            let child = Job::queued(parent.tenant, Origin::Child, *kind, parent.lane, &parent.username, turn);
            self.add(Job { parent: Some(number), ordinal, required: *required, ..child });
        }
        self.record(number);
        Outcome::Done
    }

    pub fn release(&mut self, claim: ClaimNumber) -> Outcome {
        let Some(number) = self.holder(claim) else { return Outcome::Stale };
        let job = self.job(number);
        job.state = if job.kept {
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

    /// Every retry that waits becomes due.
    pub fn ripen(&mut self) {
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

    /// What must hold whatever happens; a reference that breaks it is wrong itself.
    pub fn assert_sound(&self) {
        for (number, tenant) in self.tenants.iter().enumerate() {
            let sum: i64 = tenant.ledger.iter().map(|Entry { amount, .. }| amount).sum();
            assert_eq!(tenant.credits, sum, "balance is the ledger's sum");
            let open = |job: &&Job| job.tenant == number && job.origin == Origin::Api && !job.ended();
            assert_eq!(tenant.running as usize, self.jobs.values().filter(open).count(), "running is what is open");
            assert!(tenant.credits >= 0, "no credit that is not there");
        }
        for (number, job) in &self.jobs {
            assert_eq!(job.state == JobState::Running, job.held.is_some(), "who runs is held");
            if let Some(parent) = job.parent {
                assert!(job.ended() || !self.jobs[&parent].ended(), "no child outlives its parent");
            }
            if let Some(leader) = job.leader.filter(|_| job.follows()) {
                let leader = &self.jobs[&leader];
                assert!(!leader.ended() && leader.leader.is_none(), "{number} follows one that goes on");
            }
        }
    }
}
