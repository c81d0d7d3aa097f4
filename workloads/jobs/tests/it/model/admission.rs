//! Admission of analyses in the reference.

use std::collections::BTreeSet;

use switchyard_contract::Kind;
use switchyard_jobs::model::{JobState, Origin};

use super::{
    job::{Job, Number, Turn, lane_rank},
    outcome::Outcome,
    reference::Reference,
    tenant::{Answer, Reason},
};

impl Reference {
    pub fn submit(&mut self, tenant: usize, username: &str, forced: bool, key: Option<u8>) -> Outcome {
        let account = &self.tenants[tenant];
        let rules = *self.policy.tiers.get(account.tier);
        let price = i64::from(rules.price);
        if let Some(before) = key.and_then(|key| account.answers.get(&key)) {
            return if before.request == (username.to_owned(), forced) {
                Outcome::Replayed { job: before.job, balance: before.balance }
            } else {
                Outcome::Refused("another request")
            };
        }
        if account.running >= rules.concurrent {
            return Outcome::Refused("concurrent limit");
        }
        if rules.daily.is_some_and(|daily| account.today >= daily) {
            return Outcome::Refused("daily limit");
        }
        if account.credits < price {
            return Outcome::InsufficientCredits { balance: account.credits, price };
        }
        let lane = self.policy.lanes.get(rules.lane);
        if self.queued_in(rules.lane) >= lane.capacity {
            return Outcome::Refused("lane full");
        }

        let turn = Turn(u64::from(account.running) * lane.timeout_seconds, self.step);
        let leads = |job: &Job| {
            job.username == username
                && job.parent.is_none()
                && job.leader.is_none()
                && !job.ended()
                && job.state != JobState::Retrying
                && lane_rank(job.lane) <= lane_rank(rules.lane)
        };
        let leaders: BTreeSet<Number> =
            self.jobs.iter().filter(|(_, job)| !forced && leads(job)).map(|(number, _)| *number).collect();
        let leader = leaders.first().copied();
        let mut job = Job::queued(tenant, Origin::Api, Kind::General, rules.lane, username, turn);
        job.price = price;
        job.leader = leader;
        let job = self.add(job);
        self.leaders = leaders;
        let account = &mut self.tenants[tenant];
        account.add_entry(Reason::Charge, -price, Some((job, 0)));
        account.running += 1;
        account.today += 1;
        let balance = account.credits;
        if let Some(key) = key {
            account.answers.insert(key, Answer { request: (username.to_owned(), forced), job, balance });
        }
        Outcome::Accepted { job, balance, coalesced: leader.is_some() }
    }

    /// Sets the leader that the database chose for the newest analysis, if it is a possible one.
    pub fn set_leader(&mut self, leader: Number) {
        if let Some(mut newest) = self.jobs.last_entry().filter(|_| self.leaders.contains(&leader)) {
            newest.get_mut().leader = Some(leader);
        }
    }

    /// Adds `amount` credits, which may be negative. The balance cannot fall below 0.
    pub fn grant(&mut self, tenant: usize, amount: i64) -> Outcome {
        let tenant = &mut self.tenants[tenant];
        if tenant.credits + amount < 0 {
            return Outcome::Granted(Err(tenant.credits));
        }
        tenant.add_entry(Reason::Grant, amount, None);
        Outcome::Granted(Ok(tenant.credits))
    }
}
