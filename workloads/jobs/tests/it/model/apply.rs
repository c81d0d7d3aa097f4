//! Applies operations to the reference and to the database.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    handler::Child,
    model::{JobError, JobState, Queue},
    store::{
        Admission, CancelOutcome, Idempotency, Lease, ProgressReport, ReplayOutcome, RunKey, StoreError, SubmitRequest,
    },
};
use uuid::Uuid;

use super::{
    fixture::Run,
    job::{ClaimNumber, Job, Number},
    operation::{Operation, Pick, TENANTS},
    outcome::{Actual, Applied, Outcome, events_of},
};
use crate::fixture::transient_error;

/// Longer than any sequence of operations.
const LEASE: Duration = Duration::from_hours(1);

impl Run<'_> {
    /// Applies the operation to both. The reference selects the job or claim; `None` if there is
    /// none to select.
    pub async fn apply(&mut self, operation: &Operation) -> Result<Option<Applied>, StoreError> {
        use Operation as O;
        let applied = match operation {
            O::Submit { tenant, username, forced, key } => self.submit(*tenant, *username, *forced, *key).await,
            O::Claim { kind, lane, limit, lost } => self.claim(*kind, *lane, *limit, *lost).await,
            O::Heartbeat { claims } => {
                let claims: BTreeSet<_> = claims.iter().filter_map(|pick| self.picked(*pick)).collect();
                let run_keys: Vec<RunKey> = claims.iter().map(|claim| self.claims[*claim]).collect();
                let actual = Actual::Held(self.fixture.store.heartbeat(&run_keys, LEASE).await?);
                Ok(Applied { expected: self.reference.heartbeat(&claims), actual, events: None })
            }
            O::Pause { kind, lane, paused } => {
                self.reference.pause(*kind, *lane, *paused);
                self.fixture.store.pause(*kind, *lane, *paused).await?;
                Ok(Applied::done())
            }
            O::Grant { tenant, amount } => {
                let actual = self.fixture.store.grant_credits(self.names.tenants[*tenant], *amount, "test").await?;
                let actual = actual.map_or(Outcome::NotFound, Outcome::Granted);
                Ok(Applied::plain(self.reference.grant(*tenant, *amount), actual, None))
            }
            O::MakeRetriesDue => {
                self.reference.make_retries_due();
                let sql = "update switchyard.jobs set run_at = clock_timestamp() where run_at is not null";
                self.fixture.execute(sql).await;
                let queues = self.fixture.store.claimable_queues(Duration::ZERO).await?;
                let actual = queues.into_iter().map(|(queue, jobs)| (queue.to_string(), jobs)).collect();
                Ok(Applied::plain(
                    Outcome::Claimable(self.reference.claimable_queues()),
                    Outcome::Claimable(actual),
                    None,
                ))
            }
            O::Reap => self.reap().await,
            O::Cancel { job, foreign } => {
                let Some(number) = self.job(*job, |job| !job.ended()) else { return Ok(None) };
                self.cancel(number, *foreign).await
            }
            O::Replay { job } => {
                let Some(number) = self.job(*job, |job| job.state == JobState::Dead) else { return Ok(None) };
                self.replay(number).await
            }
            O::Discard { job } => {
                let Some(number) = self.job(*job, |job| job.state == JobState::Dead) else { return Ok(None) };
                let actual = Outcome::Answer(self.fixture.store.discard(self.ids[number]).await?);
                Ok(Applied::plain(self.reference.discard(number), actual, None))
            }
            O::Progress { claim, .. }
            | O::Expire { claim }
            | O::Spawn { claim, .. }
            | O::Complete { claim, .. }
            | O::Fail { claim, .. }
            | O::Release { claim } => {
                let Some(claim) = self.picked(*claim) else { return Ok(None) };
                self.work(claim, operation).await
            }
        };
        applied.map(Some)
    }

    /// Applies an operation of a worker with a valid or stale claim.
    async fn work(&mut self, claim: ClaimNumber, operation: &Operation) -> Result<Applied, StoreError> {
        use Operation as O;
        let (store, run_key) = (&self.fixture.store, self.claims[claim]);
        match operation {
            O::Progress { percent, .. } => {
                // With a new stage, every report emits an event.
                let stage = format!("step {}", self.reference.step);
                let effects = store.progress(&[ProgressReport { run_key, percent: *percent, stage }]).await?;
                let expected = self.reference.progress(claim, i16::from(*percent).min(99));
                Ok(Applied::effects(expected, Some(effects)))
            }
            O::Spawn { children, .. } => {
                let child =
                    |(kind, required): &(Kind, bool)| Child { kind: *kind, input: json!({}), required: *required };
                let specs: Vec<Child> = children.iter().map(child).collect();
                let expected = self.reference.spawn(claim, children);
                match store.spawn(run_key, &json!({}), &specs, "analysing").await {
                    Err(StoreError::Refused { .. }) => {
                        let actual = Outcome::Refused("a join may not spawn again");
                        Ok(Applied::plain(expected, actual, Some(Vec::new())))
                    }
                    actual => Ok(Applied::effects(expected, actual?)),
                }
            }
            O::Complete { found, .. } => {
                let found: Vec<String> = found.iter().map(|n| username(*n)).collect();
                let analysis = self
                    .reference
                    .jobs
                    .iter()
                    .any(|(number, job)| self.ids[*number] == run_key.job && job.parent.is_none());
                // Analyses without found profiles complete in batches, by another function.
                let actual = if analysis && found.is_empty() {
                    store.complete_analysis(run_key, &json!({})).await?
                } else {
                    store.complete_and_discover(run_key, &json!({}), &found).await?
                };
                Ok(Applied::effects(self.reference.complete(claim, &found), actual))
            }
            O::Fail { permanent, .. } => {
                let error = if *permanent { JobError::permanent("no", "no") } else { transient_error() };
                let actual = store.fail(run_key, &error).await?;
                let events = events_of(&actual);
                Ok(Applied::plain(self.reference.fail(claim, *permanent), actual.into(), Some(events)))
            }
            O::Release { .. } => {
                let actual = store.release(run_key).await?;
                Ok(Applied::effects(self.reference.release(claim), actual))
            }
            O::Expire { .. } => {
                let sql = "update switchyard.jobs set lease_until = clock_timestamp() - interval '1 hour'
                           where id = $1 and run_token = $2";
                self.fixture.client.execute(sql, &[&run_key.job.0, &run_key.token.0]).await.unwrap();
                self.reference.expire(claim);
                Ok(Applied::done())
            }
            other => unreachable!("{other:?} takes no claim"),
        }
    }

    async fn submit(&mut self, tenant: usize, name: u8, forced: bool, key: Option<u8>) -> Result<Applied, StoreError> {
        let username = username(name);
        let expected = self.reference.submit(tenant, &username, forced, key);
        let idempotency =
            key.map(|key| Idempotency::of(format!("key {key}"), format!("{username} {forced}").as_bytes()));
        let request = SubmitRequest { key: self.keys[tenant], username, force_refresh: forced, idempotency };
        let mut events = Vec::new();
        let actual = match self.fixture.store.submit(request).await? {
            Admission::Accepted { job, balance, coalesced, effects, .. } => {
                events = effects.events;
                Actual::Accepted { job: job.id, balance, coalesced }
            }
            Admission::Replayed { job, balance, .. } => Actual::Replayed { job: job.id, balance },
            Admission::InsufficientCredits { balance, price } => {
                Actual::Plain(Outcome::InsufficientCredits { balance, price })
            }
            Admission::ConcurrentLimit { .. } => Actual::Plain(Outcome::Refused("concurrent limit")),
            Admission::DailyLimit { .. } => Actual::Plain(Outcome::Refused("daily limit")),
            Admission::LaneFull { .. } => Actual::Plain(Outcome::Refused("lane full")),
            Admission::IdempotencyConflict => Actual::Plain(Outcome::Refused("another request")),
            Admission::Unauthenticated => Actual::Plain(Outcome::Refused("unknown")),
        };
        Ok(Applied { expected, actual, events: Some(events) })
    }

    async fn claim(&mut self, kind: Kind, lane: Lane, limit: usize, lost: bool) -> Result<Applied, StoreError> {
        let (store, queue) = (&self.fixture.store, Queue { kind, lane });
        let rows = u32::try_from(limit).unwrap_or(u32::MAX);
        let first = Lease { worker: "test", duration: LEASE, call: Uuid::now_v7(), again: false };
        let mut claims = store.claim(queue, rows, &first).await?;
        let events = claims.iter().flat_map(|claim| claim.effects.events.clone()).collect();
        if lost {
            // A repeated call returns the same jobs and claims no others.
            claims = store.claim(queue, rows, &Lease { again: true, ..first }).await?;
        }
        let expected = self.reference.claim(kind, lane, limit);
        Ok(Applied { expected, actual: Actual::Claimed(claims), events: Some(events) })
    }

    async fn reap(&mut self) -> Result<Applied, StoreError> {
        let (mut actual, mut events) = (Vec::new(), Vec::new());
        for run_key in self.fixture.store.expired(100).await? {
            let outcome = self.fixture.store.reap(run_key, true).await?.outcome;
            events.extend(events_of(&outcome));
            actual.push(outcome.into());
        }
        Ok(Applied::plain(self.reference.reap(), Outcome::Reaped(actual), Some(events)))
    }

    async fn cancel(&mut self, number: Number, foreign: bool) -> Result<Applied, StoreError> {
        let owner = self.reference.jobs[&number].tenant;
        let tenant = if foreign { (owner + 1) % TENANTS } else { owner };
        let (actual, events) = match self.fixture.store.cancel(self.names.tenants[tenant], self.ids[number]).await? {
            CancelOutcome::NotFound => (Outcome::NotFound, Vec::new()),
            CancelOutcome::AlreadyEnded { .. } => (Outcome::AlreadyEnded, Vec::new()),
            CancelOutcome::Cancelled { refunded, balance, effects, .. } => {
                (Outcome::Cancelled { refunded, balance }, effects.events)
            }
        };
        Ok(Applied::plain(self.reference.cancel(tenant, number), actual, Some(events)))
    }

    async fn replay(&mut self, number: Number) -> Result<Applied, StoreError> {
        let (actual, events) = match self.fixture.store.replay(self.ids[number]).await? {
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
        Ok(Applied::plain(self.reference.replay(number), actual, Some(events)))
    }

    fn picked(&self, pick: Pick) -> Option<ClaimNumber> {
        match pick {
            Pick::Valid(index) => nth(&self.held(), index),
            Pick::Any(index) => nth(&(0..self.claims.len()).rev().collect::<Vec<_>>(), index),
        }
    }

    fn job(&self, pick: Pick, valid: impl Fn(&Job) -> bool) -> Option<Number> {
        let among = |matches: &dyn Fn(&Job) -> bool| -> Vec<Number> {
            self.reference.jobs.iter().rev().filter(|(_, job)| matches(job)).map(|(number, _)| *number).collect()
        };
        match pick {
            Pick::Valid(index) => nth(&among(&|job| job.parent.is_none() && valid(job)), index),
            Pick::Any(index) => nth(&among(&|_| true), index),
        }
    }
}

fn nth(all: &[usize], index: u8) -> Option<usize> {
    (!all.is_empty()).then(|| all[usize::from(index) % all.len()])
}

fn username(number: u8) -> String {
    format!("user{number}")
}
