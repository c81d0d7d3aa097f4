//! Each operation as it is done to the reference and to the real thing.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    handler::Child,
    model::{JobError, JobState, Queue},
    store::{
        Admission, CancelOutcome, Held, Idempotency, Lease, ProgressReport, ReplayOutcome, StoreError, SubmitRequest,
    },
};
use uuid::Uuid;

use super::{
    operation::{Operation, Pick, TENANTS},
    outcome::{Both, Outcome, Said, told},
    reference::{ClaimNumber, Job, Number},
    world::Run,
};
use crate::ground::trouble;

/// Longer than any run.
const LEASE: Duration = Duration::from_secs(3600);

impl Run<'_> {
    /// Does the operation to both. What it picks is picked once, from what the reference knows; `None` where there is nothing to pick.
    pub async fn both(&mut self, operation: &Operation) -> Result<Option<Both>, StoreError> {
        use Operation as O;
        let both = match operation {
            O::Submit { tenant, username, forced, key } => self.submit(*tenant, *username, *forced, *key).await,
            O::Claim { kind, lane, most, lost } => self.claim(*kind, *lane, *most, *lost).await,
            O::Heartbeat { claims } => {
                let claims: BTreeSet<_> = claims.iter().filter_map(|pick| self.picked(*pick)).collect();
                let held: Vec<Held> = claims.iter().map(|claim| self.claims[*claim]).collect();
                let said = Said::Held(self.world.store.heartbeat(&held, LEASE).await?);
                Ok(Both { expected: self.reference.heartbeat(&claims), said, told: None })
            }
            O::Pause { kind, lane, paused } => {
                self.reference.pause(*kind, *lane, *paused);
                self.world.store.pause(*kind, *lane, *paused).await?;
                Ok(Both::done())
            }
            O::Grant { tenant, amount } => {
                let said = self.world.store.grant_credits(self.names.tenants[*tenant], *amount, "test").await?;
                let said = said.map_or(Outcome::NotFound, Outcome::Granted);
                Ok(Both::plain(self.reference.grant(*tenant, *amount), said, None))
            }
            O::Ripen => {
                self.reference.ripen();
                let sql = "update switchyard.jobs set run_at = clock_timestamp() where run_at is not null";
                self.world.execute(sql).await;
                let owed = self.world.store.owed(Duration::ZERO).await?;
                let said = owed.into_iter().map(|(queue, jobs)| (queue.to_string(), jobs)).collect();
                Ok(Both::plain(Outcome::Owed(self.reference.owed()), Outcome::Owed(said), None))
            }
            O::Reap => self.reap().await,
            O::Cancel { job, meddling } => {
                let Some(number) = self.job(*job, |job| !job.ended()) else { return Ok(None) };
                self.cancel(number, *meddling).await
            }
            O::Replay { job } => {
                let Some(number) = self.job(*job, |job| job.state == JobState::Dead) else { return Ok(None) };
                self.replay(number).await
            }
            O::Discard { job } => {
                let Some(number) = self.job(*job, |job| job.state == JobState::Dead) else { return Ok(None) };
                let said = Outcome::Answer(self.world.store.discard(self.ids[number]).await?);
                Ok(Both::plain(self.reference.discard(number), said, None))
            }
            O::Progress { claim, .. }
            | O::Expire { claim }
            | O::Spawn { claim, .. }
            | O::Complete { claim, .. }
            | O::Fail { claim, .. }
            | O::GiveBack { claim } => {
                let Some(claim) = self.picked(*claim) else { return Ok(None) };
                self.work(claim, operation).await
            }
        };
        both.map(Some)
    }

    /// What a worker does with a claim, whether it still holds or not.
    async fn work(&mut self, claim: ClaimNumber, operation: &Operation) -> Result<Both, StoreError> {
        use Operation as O;
        let (store, held) = (&self.world.store, self.claims[claim]);
        match operation {
            O::Progress { percent, .. } => {
                // A stage of its own makes every report news.
                let stage = format!("step {}", self.reference.step);
                let effects = store.progress(&[ProgressReport { held, percent: *percent, stage }]).await?;
                let expected = self.reference.progress(claim, i16::from(*percent).min(99));
                Ok(Both::effects(expected, Some(effects)))
            }
            O::Spawn { children, .. } => {
                let child =
                    |(kind, required): &(Kind, bool)| Child { kind: *kind, input: json!({}), required: *required };
                let made: Vec<Child> = children.iter().map(child).collect();
                let expected = self.reference.spawn(claim, children);
                match store.spawn(held, &json!({}), &made, "parts").await {
                    Err(StoreError::Refused { .. }) => {
                        let said = Outcome::Refused("a join may not spawn again");
                        Ok(Both::plain(expected, said, Some(Vec::new())))
                    }
                    said => Ok(Both::effects(expected, said?)),
                }
            }
            O::Complete { found, .. } => {
                let found: Vec<String> = found.iter().map(|n| username(*n)).collect();
                let analysis = self
                    .reference
                    .jobs
                    .iter()
                    .any(|(number, job)| self.ids[*number] == held.job && job.parent.is_none());
                // Analyses that find nothing end together with others, which is a way of its own.
                let said = if analysis && found.is_empty() {
                    store.complete_analysis(held, &json!({})).await?
                } else {
                    store.complete_and_discover(held, &json!({}), &found).await?
                };
                Ok(Both::effects(self.reference.complete(claim, &found), said))
            }
            O::Fail { permanent, .. } => {
                let error = if *permanent { JobError::permanent("no", "no") } else { trouble() };
                let said = store.fail(held, &error).await?;
                let told = told(&said);
                Ok(Both::plain(self.reference.fail(claim, *permanent), said.into(), Some(told)))
            }
            O::GiveBack { .. } => {
                let said = store.give_back(held).await?;
                Ok(Both::effects(self.reference.give_back(claim), said))
            }
            O::Expire { .. } => {
                let sql = "update switchyard.jobs set lease_until = clock_timestamp() - interval '1 hour'
                           where id = $1 and run_token = $2";
                self.world.client.execute(sql, &[&held.job.0, &held.token.0]).await.unwrap();
                self.reference.expire(claim);
                Ok(Both::done())
            }
            other => unreachable!("{other:?} is not done with a claim"),
        }
    }

    async fn submit(&mut self, tenant: usize, name: u8, forced: bool, key: Option<u8>) -> Result<Both, StoreError> {
        let username = username(name);
        let expected = self.reference.submit(tenant, &username, forced, key);
        let idempotency =
            key.map(|key| Idempotency::of(format!("key {key}"), format!("{username} {forced}").as_bytes()));
        let request = SubmitRequest {
            key: self.keys[tenant],
            username: &username,
            force_refresh: forced,
            idempotency: idempotency.as_ref(),
        };
        let mut events = Vec::new();
        let said = match self.world.store.submit(&request).await? {
            Admission::Accepted { job, balance, coalesced, effects, .. } => {
                events = effects.events;
                Said::Accepted { job: job.id, balance, coalesced }
            }
            Admission::Replayed { job, balance, .. } => Said::Replayed { job: job.id, balance },
            Admission::InsufficientCredits { balance, price } => {
                Said::Plain(Outcome::InsufficientCredits { balance, price })
            }
            Admission::ConcurrentLimit { .. } => Said::Plain(Outcome::Refused("concurrent limit")),
            Admission::DailyLimit { .. } => Said::Plain(Outcome::Refused("daily limit")),
            Admission::LaneFull { .. } => Said::Plain(Outcome::Refused("lane full")),
            Admission::IdempotencyConflict => Said::Plain(Outcome::Refused("another request")),
            Admission::Unauthenticated => Said::Plain(Outcome::Refused("unknown")),
        };
        Ok(Both { expected, said, told: Some(events) })
    }

    async fn claim(&mut self, kind: Kind, lane: Lane, most: usize, lost: bool) -> Result<Both, StoreError> {
        let (store, queue, most_of) =
            (&self.world.store, Queue { kind, lane }, u32::try_from(most).unwrap_or(u32::MAX));
        let first = Lease { worker: "test", duration: LEASE, call: Uuid::now_v7(), again: false };
        let mut claims = store.claim(queue, most_of, &first).await?;
        let told = claims.iter().flat_map(|claim| claim.effects.events.clone()).collect();
        if lost {
            // Asked again, the call answers what it took, and takes no more.
            claims = store.claim(queue, most_of, &Lease { again: true, ..first }).await?;
        }
        let expected = self.reference.claim(kind, lane, most);
        Ok(Both { expected, said: Said::Claimed(claims), told: Some(told) })
    }

    async fn reap(&mut self) -> Result<Both, StoreError> {
        let (mut said, mut events) = (Vec::new(), Vec::new());
        for held in self.world.store.expired(100).await? {
            let outcome = self.world.store.reap(held, true).await?.outcome;
            events.extend(told(&outcome));
            said.push(outcome.into());
        }
        Ok(Both::plain(self.reference.reap(), Outcome::Reaped(said), Some(events)))
    }

    async fn cancel(&mut self, number: Number, meddling: bool) -> Result<Both, StoreError> {
        let owner = self.reference.jobs[&number].tenant;
        let tenant = if meddling { (owner + 1) % TENANTS } else { owner };
        let (said, told) = match self.world.store.cancel(self.names.tenants[tenant], self.ids[number]).await? {
            CancelOutcome::NotFound => (Outcome::NotFound, Vec::new()),
            CancelOutcome::AlreadyEnded { .. } => (Outcome::AlreadyEnded, Vec::new()),
            CancelOutcome::Cancelled { refunded, balance, effects, .. } => {
                (Outcome::Cancelled { refunded, balance }, effects.events)
            }
        };
        Ok(Both::plain(self.reference.cancel(tenant, number), said, Some(told)))
    }

    async fn replay(&mut self, number: Number) -> Result<Both, StoreError> {
        let (said, told) = match self.world.store.replay(self.ids[number]).await? {
            ReplayOutcome::NotFound => (Outcome::NotFound, Vec::new()),
            ReplayOutcome::NotDead { .. } => (Outcome::NotDead, Vec::new()),
            ReplayOutcome::ConcurrentLimit { .. } => (Outcome::Refused("concurrent limit"), Vec::new()),
            ReplayOutcome::InsufficientCredits { balance, price } => {
                (Outcome::InsufficientCredits { balance, price }, Vec::new())
            }
            ReplayOutcome::Replayed { charged, balance, effects, .. } => {
                (Outcome::Started { charged, balance }, effects.events)
            }
        };
        Ok(Both::plain(self.reference.replay(number), said, Some(told)))
    }

    fn picked(&self, pick: Pick) -> Option<ClaimNumber> {
        match pick {
            Pick::Good(place) => nth(&self.held(), place),
            Pick::Any(place) => nth(&(0..self.claims.len()).rev().collect::<Vec<_>>(), place),
        }
    }

    fn job(&self, pick: Pick, good: impl Fn(&Job) -> bool) -> Option<Number> {
        let among = |wanted: &dyn Fn(&Job) -> bool| -> Vec<Number> {
            self.reference.jobs.iter().rev().filter(|(_, job)| wanted(job)).map(|(number, _)| *number).collect()
        };
        match pick {
            Pick::Good(place) => nth(&among(&|job| job.parent.is_none() && good(job)), place),
            Pick::Any(place) => nth(&among(&|_| true), place),
        }
    }
}

fn nth(all: &[usize], place: u8) -> Option<usize> {
    (!all.is_empty()).then(|| all[usize::from(place) % all.len()])
}

fn username(number: u8) -> String {
    format!("user{number}")
}
