//! Ends of attempts and jobs in the reference.

use std::collections::BTreeSet;

use switchyard_contract::{Kind, Lane};
use switchyard_jobs::model::{JobState, Origin};

use super::{
    job::{ClaimNumber, Job, Number, Turn, lane_rank},
    outcome::Outcome,
    reference::Reference,
    tenant::Reason,
};

impl Reference {
    pub fn complete(&mut self, claim: ClaimNumber, found: &[String]) -> Outcome {
        let Some(number) = self.holder(claim) else { return Outcome::Stale };
        let (parent, tenant) = (self.jobs[&number].parent, self.jobs[&number].tenant);
        match parent {
            Some(parent) => {
                self.complete_one(number);
                self.child_ended(parent);
            }
            None => {
                for follower in self.followers(number) {
                    self.complete_one(follower);
                }
                self.complete_one(number);
            }
        }
        self.discover(tenant, found);
        Outcome::Done
    }

    fn complete_one(&mut self, number: Number) {
        let job = self.end(number, JobState::Completed);
        job.progress = 100;
        job.output = true;
        if job.parent.is_none() {
            self.emit(number);
            self.decrement_running(number);
        }
    }

    pub fn end(&mut self, number: Number, state: JobState) -> &mut Job {
        let job = self.job(number);
        job.state = state;
        job.held = None;
        job.expired = None;
        job
    }

    fn decrement_running(&mut self, number: Number) {
        let job = &self.jobs[&number];
        if job.origin == Origin::Api {
            self.tenants[job.tenant].running -= 1;
        }
    }

    fn refund(&mut self, number: Number) -> i64 {
        let (price, round, tenant) = (self.jobs[&number].price, self.jobs[&number].round, self.jobs[&number].tenant);
        if price != 0 {
            self.tenants[tenant].add_entry(Reason::Refund, price, Some((number, round)));
        }
        price
    }

    /// Records at the parent that a child has ended. Children account for 10 to 90 percent of the
    /// progress of an analysis.
    fn child_ended(&mut self, parent: Number) {
        let job = self.job(parent);
        if job.state == JobState::Waiting && job.open > 0 {
            job.open -= 1;
            if job.parent.is_none() {
                job.progress = job.progress.max(10 + 80 * (job.children - job.open) / job.children);
            }
            self.record(parent);
        }
    }

    pub fn fail(&mut self, claim: ClaimNumber, permanent: bool) -> Outcome {
        let Some(number) = self.holder(claim) else { return Outcome::Stale };
        let (step, retry) = (self.step, self.policy.retry.clone());
        let job = self.job(number);
        job.failures += 1;
        if permanent || job.failures.unsigned_abs() >= retry.attempts() {
            self.die(number, permanent);
            return Outcome::Dead;
        }
        let delay = retry.delays_seconds[usize::try_from(job.failures - 1).expect("a failure is counted")];
        job.state = JobState::Retrying;
        job.due = delay == 0;
        job.turn = job.turn.max(Turn(delay, step));
        job.held = None;
        job.expired = None;
        self.record(number);
        Outcome::Retrying
    }

    /// Ends a job as dead. A required child also ends its parent. A permanent error ends the
    /// followers; after any other error the next follower leads.
    fn die(&mut self, number: Number, permanent: bool) {
        if self.jobs[&number].ended() {
            return;
        }
        let job = self.end(number, JobState::Dead);
        let (parent, required) = (job.parent, job.required);
        self.cancel_below(number);
        match parent {
            Some(parent) if required => self.die(parent, permanent),
            Some(parent) => self.child_ended(parent),
            None => {
                self.record(number);
                if permanent {
                    for follower in self.followers(number) {
                        self.die(follower, permanent);
                    }
                } else {
                    self.promote(number);
                }
                self.decrement_running(number);
                self.refund(number);
            }
        }
    }

    fn cancel_below(&mut self, number: Number) {
        let mut below = BTreeSet::from([number]);
        // A child has a higher number than its parent.
        for (child, job) in &mut self.jobs {
            if job.parent.is_some_and(|parent| below.contains(&parent)) {
                below.insert(*child);
                if !job.ended() {
                    job.state = JobState::Cancelled;
                    job.held = None;
                    job.expired = None;
                }
            }
        }
    }

    /// Makes the follower in the highest lane the leader of the others. It starts from the
    /// beginning.
    fn promote(&mut self, leader: Number) {
        let followers = self.followers(leader);
        let Some(first) = followers.iter().copied().min_by_key(|n| (lane_rank(self.jobs[n].lane), *n)) else { return };
        for follower in followers {
            self.job(follower).leader = Some(first);
        }
        let job = self.job(first);
        job.state = JobState::Queued;
        job.leader = None;
        job.started = false;
        job.progress = 0;
        self.record(first);
    }

    pub fn cancel(&mut self, tenant: usize, number: Number) -> Outcome {
        let found = self.jobs.get(&number).filter(|job| job.tenant == tenant && job.parent.is_none());
        let Some(job) = found else { return Outcome::NotFound };
        if job.ended() {
            return Outcome::AlreadyEnded;
        }
        // A follower has run nothing of its own.
        let untouched = !job.started || job.follows();
        self.end(number, JobState::Cancelled);
        self.cancel_below(number);
        self.record(number);
        self.promote(number);
        self.decrement_running(number);
        let refunded = if untouched { self.refund(number) } else { 0 };
        Outcome::Cancelled { refunded, balance: self.tenants[tenant].credits }
    }

    /// Queues a dead analysis again and charges the price that its death refunded.
    pub fn replay(&mut self, number: Number) -> Outcome {
        let step = self.step;
        let Some(job) = self.jobs.get(&number).filter(|job| job.parent.is_none()) else { return Outcome::NotFound };
        if job.state != JobState::Dead || job.discarded {
            return Outcome::NotDead;
        }
        let (price, owner, origin) = (job.price, job.tenant, job.origin);
        let tenant = &self.tenants[owner];
        if origin == Origin::Api && tenant.running >= self.policy.tiers.get(tenant.tier).concurrent {
            return Outcome::Refused("concurrent limit");
        }
        if tenant.credits < price {
            return Outcome::InsufficientCredits { balance: tenant.credits, price };
        }
        let mut below = BTreeSet::from([number]);
        for (child, job) in &self.jobs {
            if job.parent.is_some_and(|parent| below.contains(&parent)) {
                below.insert(*child);
            }
        }
        self.jobs.retain(|n, _| *n == number || !below.contains(n));
        let job = self.job(number);
        let old = job.clone();
        let fresh = Job::queued(owner, origin, old.kind, old.lane, &old.username, Turn(0, step));
        *job = Job { price, round: old.round + 1, events: old.events, ..fresh };
        let round = job.round;
        let tenant = &mut self.tenants[owner];
        if origin == Origin::Api {
            tenant.running += 1;
        }
        if price != 0 {
            tenant.add_entry(Reason::Charge, -price, Some((number, round)));
        }
        let balance = tenant.credits;
        self.record(number);
        Outcome::Started { charged: price, balance }
    }

    pub fn discard(&mut self, number: Number) -> Outcome {
        let found = self.jobs.get_mut(&number).filter(|job| job.parent.is_none() && job.state == JobState::Dead);
        let discards = found.filter(|job| !job.discarded).map(|job| job.discarded = true).is_some();
        Outcome::Answer(discards)
    }

    /// Queues analyses of found profiles on the low lane, within the limits of tenant and lane.
    fn discover(&mut self, tenant: usize, found: &[String]) {
        let tier = *self.policy.tiers.get(self.tenants[tenant].tier);
        let rules = *self.policy.lanes.get(Lane::Low);
        let discovered = |job: &&Job| job.tenant == tenant && job.origin == Origin::Discovery && !job.ended();
        let mut open = self.jobs.values().filter(discovered).count() as u64;
        for username in found {
            let account = &self.tenants[tenant];
            let day_is_full = tier.daily.is_some_and(|daily| account.today + account.discovered_today >= daily);
            if open >= u64::from(tier.concurrent) || day_is_full || self.queued_in(Lane::Low) >= rules.capacity {
                return;
            }
            // In progress, or ended within a day.
            let known = |job: &Job| job.tenant == tenant && job.parent.is_none() && job.username == *username;
            if self.jobs.values().any(known) {
                continue;
            }
            let turn = Turn(open * rules.timeout_seconds, self.step);
            self.add(Job::queued(tenant, Origin::Discovery, Kind::General, Lane::Low, username, turn));
            self.tenants[tenant].discovered_today += 1;
            open += 1;
        }
    }
}
