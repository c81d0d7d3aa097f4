//! A tenant on a fresh database, and helpers that all tests share.

use std::time::Duration;

use secrecy::ExposeSecret;
use switchyard_contract::{Kind, Retry, Tier};
use switchyard_jobs::{
    model::{Effects, Job, JobError, JobId, Queue, TenantId},
    store::{Admission, Claim, FailOutcome, KeyHash, Lease, NewTenant, Policy, Store, SubmitRequest},
    testing::{TestDatabase, postgres},
};
use uuid::Uuid;

/// A tenant on a database of its own.
pub struct Fixture {
    pub database: TestDatabase,
    pub store: Store,
    pub tenant: TenantId,
    pub key: KeyHash,
}

/// A policy of three attempts without a delay between them.
pub fn immediate_retries() -> Policy {
    Policy { retry: Retry { delays_seconds: vec![0, 0, 0] }, ..Policy::default() }
}

pub async fn fixture(tier: Tier, credits: i64) -> Fixture {
    fixture_with(tier, credits, immediate_retries()).await
}

pub async fn fixture_with(tier: Tier, credits: i64, policy: Policy) -> Fixture {
    let database = postgres().await.database().await;
    let store = database.store(policy);
    let (tenant, key) = tenant(&store, tier, credits).await;
    Fixture { database, store, tenant, key }
}

pub async fn tenant(store: &Store, tier: Tier, credits: i64) -> (TenantId, KeyHash) {
    let tenant = store.create_tenant(&NewTenant { name: "tester", tier, credits }).await.unwrap().id;
    let key = store.create_key(tenant).await.unwrap().unwrap();
    (tenant, KeyHash::of(key.secret.expose_secret()))
}

/// A lease that outlasts a test.
pub fn lease() -> Lease<'static> {
    Lease { worker: "test", duration: Duration::from_secs(30), call: Uuid::now_v7(), again: false }
}

pub fn request(key: KeyHash, username: &str) -> SubmitRequest {
    SubmitRequest { key, username: username.to_owned(), force_refresh: false, idempotency: None }
}

impl Fixture {
    pub async fn submit(&self, username: &str) -> Job {
        match self.store.submit(request(self.key, username)).await.unwrap() {
            Admission::Accepted { job, .. } => job,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Claims the job, or returns `None` if it is not claimable.
    ///
    /// Meanwhile a transaction locks all other jobs, because claims skip locked rows.
    pub async fn claim(&self, job: JobId, kind: Kind) -> Option<Claim> {
        let mut client = self.database.client().await;
        let others = client.transaction().await.unwrap();
        let lane = others.query_one("select lane from switchyard.jobs where id = $1", &[&job.0]).await.unwrap();
        others
            .query("select from switchyard.jobs where id <> $1 and finished_at is null and leader_id is null for no key update", &[&job.0])
            .await
            .unwrap();
        let queue = Queue { kind, lane: lane.get::<_, String>(0).parse().unwrap() };
        let mut claims = self.store.claim(queue, 1, &lease()).await.unwrap();
        others.rollback().await.unwrap();
        claims.pop()
    }

    /// Children of a job, in the order of creation.
    pub async fn children(&self, job: JobId) -> Vec<JobId> {
        let client = self.database.client().await;
        let rows =
            client.query("select id from switchyard.jobs where parent_id = $1 order by ordinal", &[&job.0]).await;
        rows.unwrap().iter().map(|row| JobId(row.get(0))).collect()
    }

    /// Claims an analysis.
    ///
    /// # Panics
    /// If the analysis is not claimable.
    pub async fn claim_analysis(&self, job: JobId) -> Claim {
        self.claim(job, Kind::General).await.expect("the job can be claimed")
    }

    pub async fn fail(&self, claim: &Claim, error: &JobError) -> FailOutcome {
        self.store.fail(claim.run_key(), error).await.unwrap()
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.store.any_job(id).await.unwrap().expect("the job exists")
    }

    pub async fn balance(&self) -> i64 {
        self.assert_consistent().await;
        self.store.tenant(self.tenant).await.unwrap().unwrap().credits
    }

    /// Checks the invariants of the tables, which hold after every transaction.
    pub async fn assert_consistent(&self) {
        let client = self.database.client().await;
        let wrong = client
            .query_one(
                "select count(*) from switchyard.tenants t
                 where credits <> (select coalesce(sum(amount), 0) from switchyard.ledger l where l.tenant_id = t.id)
                    or running <> (select count(*) from switchyard.jobs j
                                   where j.tenant_id = t.id and j.origin = 'api' and j.finished_at is null)",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(
            wrong.get::<_, i64>(0),
            0,
            "credits equal the ledger's sum, and `running` equals the number of unfinished analyses"
        );
        let orphans = client
            .query_one(
                "select count(*) from switchyard.jobs c join switchyard.jobs p on p.id = c.parent_id
                 where c.finished_at is null and p.finished_at is not null and (c.corrects is null or p.state <> 'completed')",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(orphans.get::<_, i64>(0), 0, "only a correction outlives its parent");
        let miscounted = client
            .query_one(
                "select count(*) from switchyard.jobs p where p.finished_at is null and p.open_children <>
                 (select count(*) from switchyard.jobs c where c.parent_id = p.id and c.finished_at is null)",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(miscounted.get::<_, i64>(0), 0, "`open_children` equals the number of unfinished children");
    }
}

/// Effects of a failed attempt.
pub fn effects_of(outcome: &FailOutcome) -> &Effects {
    match outcome {
        FailOutcome::Stale => panic!("stale"),
        FailOutcome::Retrying { effects, .. } | FailOutcome::Dead { effects } => effects,
    }
}

/// An error after which a job is retried.
pub fn transient_error() -> JobError {
    JobError::transient("test-error", "the attempt failed")
}
