//! Each check finds violations of its own invariant, and no other check reports them.

use std::{collections::BTreeSet, time::Duration};

use secrecy::ExposeSecret as _;
use serde_json::json;
use switchyard_chaos::{
    checks::{self, AUDIT},
    fixture::put_limits,
};
use switchyard_contract::{ConnectionPool, Kind, Lane, Lanes, Tier, Tiers};
use switchyard_jobs::{
    handler::Child,
    model::{JobError, JobId, Queue, TenantId},
    store::{
        Address, Admission, CancelOutcome, Claim, Idempotency, KeyHash, Lease, NewTenant, Policy, ReplayOutcome, Store,
        SubmitRequest, migrate,
    },
    testing::Postgres,
};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A database with healthy jobs of every kind.
struct Scene {
    store: Store,
    client: Client,
    standard: (TenantId, KeyHash),
    premium: (TenantId, KeyHash),
}

async fn connect(uri: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(uri, NoTls).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

impl Scene {
    async fn on(uri: &str) -> Self {
        let mut client = connect(uri).await;
        migrate(&mut client).await.unwrap();
        client.batch_execute(AUDIT).await.unwrap();
        put_limits(&client, &Tiers::default(), &Lanes::default()).await.unwrap();
        let connections: ConnectionPool =
            serde_json::from_value(json!({ "size": 4, "waitTimeoutSeconds": 20, "statementTimeoutSeconds": 20 }))
                .unwrap();
        let store = Store::open(&Address::parse(uri, "uri").unwrap(), "checks", connections, Policy::default());
        let tenant = async |tier| {
            let id = store.create_tenant(&NewTenant { name: "tenant", tier, credits: 100 }).await.unwrap().id;
            let key = store.create_key(id).await.unwrap().unwrap();
            (id, KeyHash::of(key.secret.expose_secret()))
        };
        let (standard, premium) = (tenant(Tier::Standard).await, tenant(Tier::Premium).await);
        Self { store, client, standard, premium }
    }

    /// Submits an analysis and records it as the load does.
    async fn submit(&self, (tenant, key): (TenantId, KeyHash), username: &str, idempotency: Option<&str>) -> JobId {
        let kept = idempotency.map(|name| Idempotency::of(name, username.as_bytes()));
        let request = SubmitRequest { key, username: username.to_owned(), force_refresh: false, idempotency: kept };
        let job = match self.store.submit(request).await.unwrap() {
            Admission::Accepted { job, .. } | Admission::Replayed { job, .. } => job.id,
            refused => panic!("{refused:?}"),
        };
        let note = "insert into chaos.requests select count(*), $1, $2, $3, $4 from chaos.requests";
        self.client.execute(note, &[&tenant.0, &username, &idempotency, &job.0]).await.unwrap();
        job
    }

    async fn claim(&self, kind: Kind, lane: Lane) -> Claim {
        let lease = Lease { worker: "test", duration: Duration::from_mins(1), call: Uuid::new_v4(), again: false };
        let mut claims = self.store.claim(Queue { kind, lane }, 1, &lease).await.unwrap();
        claims.pop().expect("there is a job to claim")
    }

    async fn complete(&self, claim: &Claim) {
        self.store.complete(claim.run_key(), &json!({ "token": claim.token })).await.unwrap().unwrap();
    }

    async fn refuse(&self, claim: &Claim) {
        self.store.fail(claim.run_key(), &JobError::permanent("refused", "no")).await.unwrap();
    }

    async fn cancel(&self, job: JobId) {
        let outcome = self.store.cancel(self.standard.0, job).await.unwrap();
        assert!(matches!(outcome, CancelOutcome::Cancelled { .. }), "{outcome:?}");
    }

    /// Plays every possible course of a job without violations.
    async fn play(self) {
        let normal = async |kind| self.claim(kind, Lane::Normal).await;
        // Completed after two submissions with one key; its discovered profile fails.
        for _ in 0..2 {
            self.submit(self.standard, "ada", Some("once")).await;
        }
        let ada = normal(Kind::General).await;
        let found = ["ian".to_owned()];
        self.store.complete_and_discover(ada.run_key(), &json!({}), &found).await.unwrap().unwrap();
        self.refuse(&self.claim(Kind::General, Lane::Low).await).await;
        // Completed with children.
        self.submit(self.standard, "bob", None).await;
        let bob = normal(Kind::General).await;
        let part = |kind, required| Child { kind, input: json!({}), required };
        let parts = [part(Kind::Cdn, true), part(Kind::Ai, false)];
        self.store.spawn(bob.run_key(), &json!({}), &parts, "parts").await.unwrap().unwrap();
        self.complete(&normal(Kind::Cdn).await).await;
        self.refuse(&normal(Kind::Ai).await).await;
        self.complete(&normal(Kind::General).await).await;
        // Dead, replayed, completed.
        let cyn = self.submit(self.standard, "cyn", None).await;
        self.refuse(&normal(Kind::General).await).await;
        assert!(matches!(self.store.replay(cyn).await.unwrap(), ReplayOutcome::Replayed { .. }));
        self.complete(&normal(Kind::General).await).await;
        // Cancelled before and after a worker claimed it.
        self.cancel(self.submit(self.standard, "dan", None).await).await;
        for _ in 0..2 {
            let eve = self.submit(self.standard, "eve", None).await;
            normal(Kind::General).await;
            self.cancel(eve).await;
        }
        // Dead.
        self.submit(self.standard, "fay", None).await;
        self.refuse(&normal(Kind::General).await).await;
        // Two tenants share one pipeline.
        self.submit(self.premium, "gil", None).await;
        self.submit(self.standard, "gil", None).await;
        self.complete(&self.claim(Kind::General, Lane::High).await).await;
        let watched =
            "insert into chaos.watches select id, array[1, 2, 3], true from switchyard.jobs where username = 'ada'";
        self.client.batch_execute(watched).await.unwrap();
    }
}

/// Statements, each in its own transaction, and the checks that they violate.
struct Case {
    violates: &'static [&'static str],
    statements: &'static [&'static str],
}

const fn case(violates: &'static [&'static str], statements: &'static [&'static str]) -> Case {
    Case { violates, statements }
}

/// Disables the harness' triggers for the statements after it.
const WITHOUT_TRIGGERS: &str = "set session_replication_role = replica";

const CASES: &[Case] = &[
    case(
        &["accepted_jobs_are_there"],
        &["insert into chaos.requests select 1000, id, 'zoe', null, gen_random_uuid() from switchyard.tenants limit 1"],
    ),
    case(
        &["every_job_has_ended"],
        &[WITHOUT_TRIGGERS, "update switchyard.jobs set state = 'retrying', finished_at = null where username = 'ian'"],
    ),
    // Claimed while it was running.
    case(
        &["no_job_is_in_two_hands"],
        &["insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after, run_token)
           select id, id, tenant_id, origin, lane, round, 'running', 'running', 1000000 from switchyard.jobs where username = 'ada'"],
    ),
    // Claimed twice with one token.
    case(
        &["no_job_is_in_two_hands"],
        &["insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after, run_token)
           select job_id, job_id, tenant_id, origin, lane, round, before, after, run_token from chaos.transitions
           where after = 'running' and lane = 'low'"],
    ),
    case(
        &["no_job_ends_twice"],
        &["insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after)
           select id, id, tenant_id, origin, lane, round, 'running', 'dead' from switchyard.jobs where username = 'fay'"],
    ),
    case(
        &["no_job_ends_twice"],
        &["insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after)
           select id, id, tenant_id, origin, lane, round, 'dead', 'retrying' from switchyard.jobs where username = 'ian'"],
    ),
    case(
        &["no_result_is_written_twice"],
        &["insert into chaos.results select id, 99, '{}' from switchyard.jobs where username = 'ada'"],
    ),
    case(
        &["no_result_is_written_twice"],
        &["delete from switchyard.outputs where job_id = (select id from switchyard.jobs where username = 'ada')"],
    ),
    case(
        &["no_result_is_written_twice"],
        &[
            WITHOUT_TRIGGERS,
            "insert into switchyard.outputs (job_id, output) select id, '{}' from switchyard.jobs where username = 'fay'",
        ],
    ),
    case(
        &["every_round_is_charged_once"],
        &["update switchyard.ledger set round = 7 where kind = 'charge' and job_id = (select id from switchyard.jobs where username = 'ada')"],
    ),
    case(
        &["every_round_is_charged_once"],
        &["update switchyard.ledger set amount = amount - 1 where kind = 'charge' and job_id = (select id from switchyard.jobs where username = 'ada');
           update switchyard.tenants set credits = credits - 1 where tier = 'standard'"],
    ),
    // No refund in the round in which the job died.
    case(
        &["credits_go_back_exactly_when_due"],
        &["update switchyard.ledger set round = 7 where kind = 'refund' and job_id = (select id from switchyard.jobs where username = 'fay')"],
    ),
    // A refund for a completed job.
    case(
        &["credits_go_back_exactly_when_due"],
        &["insert into switchyard.ledger (tenant_id, job_id, round, kind, amount)
           select tenant_id, id, 0, 'refund', price from switchyard.jobs where username = 'ada';
           update switchyard.tenants set credits = credits + 2 where tier = 'standard'"],
    ),
    // A refund for a job that was cancelled while it was running.
    case(
        &["credits_go_back_exactly_when_due"],
        &["insert into switchyard.ledger (tenant_id, job_id, round, kind, amount)
           select tenant_id, id, 0, 'refund', price from switchyard.jobs where username = 'eve' limit 1;
           update switchyard.tenants set credits = credits + 2 where tier = 'standard'"],
    ),
    case(&["balances_equal_their_ledgers"], &["update switchyard.tenants set credits = credits + 1 where tier = 'premium'"]),
    case(&["running_counts_are_true"], &["update switchyard.tenants set running = running + 1 where tier = 'premium'"]),
    // The counter exceeded the limit for a moment.
    case(
        &["no_tenant_runs_more_than_its_tier"],
        &["update switchyard.tenants set running = 6 where tier = 'standard'", "update switchyard.tenants set running = 0"],
    ),
    // The jobs exceeded the limit for a moment, independently of the counter.
    case(
        &["no_tenant_runs_more_than_its_tier"],
        &[
            "insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after)
             select gen_random_uuid(), gen_random_uuid(), id, 'api', 'normal', 0, null, 'queued' from switchyard.tenants, generate_series(1, 6)
             where tier = 'standard'",
            "insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after)
             select gen_random_uuid(), gen_random_uuid(), id, 'api', 'normal', 0, 'queued', 'cancelled' from switchyard.tenants, generate_series(1, 6)
             where tier = 'standard'",
        ],
    ),
    case(&["no_tenant_has_more_a_day_than_its_tier"], &["update switchyard.tenants set today = today - 1 where tier = 'premium'"]),
    case(&["no_tenant_has_more_a_day_than_its_tier"], &["update chaos.tiers set daily = 3 where tier = 'standard'"]),
    case(
        &["no_lane_runs_more_than_the_platform"],
        &[
            "insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after, run_token)
             select gen_random_uuid(), gen_random_uuid(), id, 'discovery', 'critical', 0, 'queued', 'running', nextval('switchyard.run_tokens')
             from switchyard.tenants, generate_series(1, 4) where tier = 'standard'",
            "insert into chaos.transitions (job_id, root_id, tenant_id, origin, lane, round, before, after)
             select gen_random_uuid(), gen_random_uuid(), id, 'discovery', 'critical', 0, 'running', 'completed'
             from switchyard.tenants, generate_series(1, 4) where tier = 'standard'",
        ],
    ),
    // A child changed after its analysis had ended.
    case(
        &["no_child_outlives_its_parent"],
        &["insert into chaos.transitions (job_id, root_id, parent_id, tenant_id, origin, lane, round, before, after)
           select id, root_id, parent_id, tenant_id, origin, lane, round, 'queued', 'running' from switchyard.jobs where kind = 'cdn'"],
    ),
    case(
        &["no_child_outlives_its_parent"],
        &[WITHOUT_TRIGGERS, "update switchyard.jobs set parent_id = gen_random_uuid() where kind = 'cdn'"],
    ),
    case(
        &["every_job_has_ended", "no_child_outlives_its_parent"],
        &[WITHOUT_TRIGGERS, "update switchyard.jobs set state = 'queued', finished_at = null where kind = 'ai'"],
    ),
    case(
        &["open_children_are_counted_right"],
        &[WITHOUT_TRIGGERS, "update switchyard.jobs set open_children = 1 where username = 'ada'"],
    ),
    // The count was wrong for a moment.
    case(
        &["no_job_ends_twice", "open_children_are_counted_right"],
        &[
            "update switchyard.jobs set state = 'waiting', finished_at = null, open_children = 1 where username = 'ian'",
            "set session_replication_role = replica;
             update switchyard.jobs set state = 'dead', finished_at = now(), open_children = 0 where username = 'ian'",
        ],
    ),
    case(
        &["followers_end_as_their_leaders"],
        &[WITHOUT_TRIGGERS, "update switchyard.outputs set output = '{}' where job_id = (select id from switchyard.jobs where username = 'gil' and lane = 'normal')"],
    ),
    case(
        &["events_have_no_gaps"],
        &["delete from switchyard.events where seq = 2 and job_id = (select id from switchyard.jobs where username = 'ada')"],
    ),
    case(
        &["events_have_no_gaps"],
        &["update switchyard.events set state = 'running' where state = 'completed'
           and job_id = (select id from switchyard.jobs where username = 'ada')"],
    ),
    case(&["watchers_see_every_event_once"], &["update chaos.watches set seqs = array[1, 3]"]),
    case(&["watchers_see_every_event_once"], &["update chaos.watches set seqs = array[1, 2, 2]"]),
    case(&["watchers_see_every_event_once"], &["update chaos.watches set ended = false"]),
    // Two jobs for one key.
    case(
        &["every_key_makes_one_job"],
        &["insert into chaos.requests select 1000, id, 'eve', 'twice', null from switchyard.tenants where tier = 'standard'"],
    ),
    case(&["no_request_makes_two_jobs"], &["delete from chaos.requests where id = (select max(id) from chaos.requests where username = 'eve')"]),
    case(&["nothing_is_left_in_the_queues"], &["insert into chaos.queues values ('switchyard.ai.low', 1)"]),
];

#[tokio::test]
async fn each_check_reports_only_its_own_violations() {
    let postgres = Postgres::own(&["track_commit_timestamp=on", "fsync=off"]).await;
    let healthy = postgres.bare_database().await;
    Scene::on(&healthy.uri).await.play().await;
    let owner = connect(&postgres.uri("postgres")).await;
    let template = healthy.uri.rsplit_once('/').unwrap().1;
    // Connections to the template take a moment to close.
    let ended = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = $1";
    owner.query(ended, &[&template]).await.unwrap();

    let copy = async |number: usize| {
        owner.batch_execute(&format!("create database copy{number} template {template}")).await.unwrap();
        connect(&postgres.uri(&format!("copy{number}"))).await
    };
    let found = checks::violations(&copy(0).await).await.unwrap();
    assert!(found.is_empty(), "the healthy database has violations: {found:#?}");
    let mut unviolated: BTreeSet<&str> = checks::ALL.iter().map(|check| check.name).collect();
    for (number, case) in (1..).zip(CASES) {
        let client = copy(number).await;
        for statement in case.statements {
            client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        let found = checks::violations(&client).await.unwrap();
        let names: BTreeSet<&str> = found.iter().map(|violation| violation.check).collect();
        assert_eq!(names, case.violates.iter().copied().collect(), "{:?} led to {found:#?}", case.statements);
        unviolated.retain(|name| !case.violates.contains(name));
    }
    assert!(unviolated.is_empty(), "no case violates {unviolated:?}");
    postgres.end();
}
