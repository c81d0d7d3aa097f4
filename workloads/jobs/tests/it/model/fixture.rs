//! Runs each operation on the database and on the reference, and compares their answers and
//! contents.

use std::collections::BTreeSet;

use chrono::{NaiveDate, Utc};
use secrecy::ExposeSecret as _;
use switchyard_contract::{Kind, Lane, LaneLimits, Lanes, Retry, Tier, TierLimits, Tiers};
use switchyard_jobs::{
    handler::Step,
    model::{Event, JobId},
    store::{KeyHash, NewTenant, Policy, RunKey, Store},
    testing::TestDatabase,
};
use tokio_postgres::{Client, types::Json};

use super::{
    job::{ClaimNumber, Number},
    operation::{Operation, Pick, TENANTS},
    outcome::{Actual, EmittedEvent, Outcome},
    reference::Reference,
    tables::{Names, Tables, difference},
    tenant::Tenant,
};

const INITIAL_TENANTS: [(Tier, i64); TENANTS] = [(Tier::Free, 20), (Tier::Premium, 40), (Tier::Free, 8)];

/// Limits that a run reaches soon. Turns are delayed by far more than a run takes, so the clock
/// does not affect their order.
pub fn policy() -> Policy {
    let lane = |capacity, max_running, timeout_seconds| LaneLimits { capacity, max_running, timeout_seconds };
    let tier = |concurrent, daily, price, lane| TierLimits { concurrent, daily, price, lane };
    Policy {
        tiers: Tiers {
            free: tier(3, Some(8), 3, Lane::Low),
            premium: tier(4, None, 5, Lane::Critical),
            ..Tiers::default()
        },
        lanes: Lanes { critical: lane(3, 2, 300), low: lane(4, 2, 600), ..Lanes::default() },
        // The first retry is immediate, the second is due after a day, then the job dies.
        retry: Retry { delays_seconds: vec![0, 86400, 0] },
    }
}

/// A database that runs use one after the other.
pub struct Fixture {
    pub store: Store,
    pub client: Client,
    _database: TestDatabase,
}

/// One sequence of operations.
pub struct Run<'a> {
    pub fixture: &'a Fixture,
    pub keys: Vec<KeyHash>,
    pub names: Names,
    pub reference: Reference,
    /// All claims by number.
    pub claims: Vec<RunKey>,
    /// Job ids by number.
    pub ids: Vec<JobId>,
    day: NaiveDate,
    trace: String,
}

impl Fixture {
    pub async fn new(database: TestDatabase) -> Self {
        Self { store: database.store_of(2, policy()), client: database.client().await, _database: database }
    }

    /// Replaces `from` by `to` in the body of a function of the schema.
    pub async fn sabotage(&self, function: &str, from: &str, to: &str) {
        let sql = "select pg_get_functiondef(p.oid) from pg_proc p
                   where p.pronamespace = 'switchyard'::regnamespace and p.proname = $1";
        let row = self.client.query_one(sql, &[&function]).await.unwrap();
        let body: String = row.get(0);
        assert!(body.contains(from), "{function} has changed: {body}");
        self.client.batch_execute(&body.replace(from, to)).await.unwrap();
    }

    pub async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Runs `operations` on an empty platform and then finishes all jobs.
    ///
    /// # Errors
    /// The first difference, with the operations before it.
    pub async fn check(&self, operations: &[Operation]) -> Result<(), String> {
        let mut run = Run::new(self).await;
        for operation in operations {
            run.step(operation).await?;
        }
        run.drain().await
    }
}

impl<'a> Run<'a> {
    async fn new(fixture: &'a Fixture) -> Self {
        fixture
            .execute(
                "truncate switchyard.tenants, switchyard.api_keys, switchyard.jobs, switchyard.ledger, switchyard.outputs,
                 switchyard.events, switchyard.idempotency, switchyard.paused_lanes",
            )
            .await;
        let (mut keys, mut names) = (Vec::new(), Names::default());
        for (tier, credits) in INITIAL_TENANTS {
            let tenant = fixture.store.create_tenant(&NewTenant { name: "tester", tier, credits }).await.unwrap().id;
            let key = fixture.store.create_key(tenant).await.unwrap().unwrap();
            keys.push(KeyHash::of(key.secret.expose_secret()));
            names.tenants.push(tenant);
        }
        let tenants = INITIAL_TENANTS.iter().map(|(tier, credits)| Tenant::new(*tier, *credits)).collect();
        let reference = Reference::new(policy(), tenants);
        let (claims, ids, trace) = (Vec::new(), Vec::new(), String::new());
        Self { fixture, keys, names, reference, claims, ids, day: Utc::now().date_naive(), trace }
    }

    pub async fn step(&mut self, operation: &Operation) -> Result<(), String> {
        self.reference.step += 1;
        self.reference.emitted.clear();
        self.reference.leaders.clear();
        let done = self.apply(operation).await.map_err(|error| self.report(operation, &format!("\n  {error}")))?;
        let Some(applied) = done else { return Ok(()) };
        self.reference.assert_consistent();
        let tables = self.read_tables().await;
        self.assign_numbers(&tables, &applied.actual);
        let found = self.translate(applied.actual);

        let mut mismatch = String::new();
        if applied.expected != found {
            mismatch += &format!("\n  expected answer: {:?}\n  actual answer:   {found:?}", applied.expected);
        }
        let emitted: Option<BTreeSet<EmittedEvent>> =
            applied.events.map(|events| events.iter().map(|event| self.emitted(event)).collect());
        if let Some(emitted) = emitted.filter(|emitted| *emitted != self.reference.emitted) {
            mismatch += &format!(
                "\n  expected events: {:?}
  actual events:   {emitted:?}",
                self.reference.emitted
            );
        }
        mismatch += &difference(&self.reference.lines(), &tables.lines(&self.names)).unwrap_or_default();
        // Daily counters restart at midnight, so a run across it is not comparable.
        if mismatch.is_empty() || self.day != Utc::now().date_naive() {
            self.trace += &format!("\n{operation:?} -> {found:?}");
            return Ok(());
        }
        Err(self.report(operation, &mismatch))
    }

    fn report(&self, operation: &Operation, mismatch: &str) -> String {
        format!("{}\n{operation:?}{mismatch}", self.trace)
    }

    /// Finishes all jobs. None may be stuck.
    async fn drain(&mut self) -> Result<(), String> {
        let queues = [Kind::General, Kind::Ai, Kind::Cdn].map(|kind| [(kind, Lane::Critical), (kind, Lane::Low)]);
        let queues = queues.concat();
        for (kind, lane) in &queues {
            self.step(&Operation::Pause { kind: *kind, lane: *lane, paused: false }).await?;
        }
        while self.reference.jobs.values().any(|job| !job.ended()) {
            let before = self.reference.claims;
            self.step(&Operation::MakeRetriesDue).await?;
            let mut progressed = self.complete_all().await?;
            for (kind, lane) in &queues {
                self.step(&Operation::Claim { kind: *kind, lane: *lane, limit: 8, lost: false }).await?;
            }
            progressed |= self.reference.claims > before;
            assert!(progressed, "the reference is stuck{}", self.trace);
        }
        Ok(())
    }

    async fn complete_all(&mut self) -> Result<bool, String> {
        let held = self.held();
        for claim in &held {
            let index = u8::try_from(self.held().iter().position(|other| other == claim).unwrap_or(0)).unwrap_or(0);
            self.step(&Operation::Complete { claim: Pick::Valid(index), found: BTreeSet::new() }).await?;
        }
        Ok(!held.is_empty())
    }

    /// Claims with a valid token.
    pub fn held(&self) -> Vec<ClaimNumber> {
        let mut held: Vec<_> = self.reference.jobs.values().filter_map(|job| job.held).collect();
        held.sort_unstable();
        held
    }

    async fn read_tables(&self) -> Tables {
        let row = self.fixture.client.query_one(include_str!("tables.sql"), &[]).await.unwrap();
        row.get::<_, Json<Tables>>(0).0
    }

    /// Numbers new jobs and claims like the reference: ids and tokens increase with time.
    fn assign_numbers(&mut self, tables: &Tables, actual: &Actual) {
        for row in &tables.jobs {
            if !self.names.jobs.contains_key(&row.id) {
                self.names.jobs.insert(row.id, self.ids.len());
                self.ids.push(row.id);
                if let Some(leader) = row.leader {
                    self.reference.set_leader(self.number(leader));
                }
            }
        }
        if let Actual::Claimed(claims) = actual {
            for claim in claims {
                self.names.tokens.insert(claim.token.0, self.claims.len());
                self.claims.push(claim.run_key());
            }
        }
    }

    fn number(&self, id: JobId) -> Number {
        self.names.jobs.get(&id).copied().unwrap_or(Number::MAX)
    }

    fn translate(&self, actual: Actual) -> Outcome {
        match actual {
            Actual::Plain(outcome) => outcome,
            Actual::Accepted { job, balance, coalesced } => {
                Outcome::Accepted { job: self.number(job), balance, coalesced }
            }
            Actual::Replayed { job, balance } => Outcome::Replayed { job: self.number(job), balance },
            Actual::Held(jobs) => Outcome::Held(jobs.into_iter().map(|job| self.number(job)).collect()),
            Actual::Claimed(claims) => {
                let claims = claims.into_iter().map(|claim| {
                    let children = match claim.job.step {
                        Step::Start => None,
                        Step::Join { children, .. } => Some(children.iter().map(|c| c.result.is_ok()).collect()),
                    };
                    (self.number(claim.job.id), claim.job.attempt, children)
                });
                Outcome::Claimed(claims.collect())
            }
        }
    }

    fn emitted(&self, event: &Event) -> EmittedEvent {
        let Event { job, seq, state, progress, .. } = event;
        EmittedEvent { job: self.number(*job), seq: *seq, state: state.clone(), progress: *progress }
    }
}
