//! Isolation of tenants and of the workloads' database roles, on a private PostgreSQL that is set
//! up like an installation.

use std::{env, fs, process, time::Duration};

use secrecy::ExposeSecret as _;
use serde_json::json;
use switchyard_contract::{
    Analysis, Config, ConnectionPool, Database, Kind, Lane, Lanes, Mount, Platform, Pooler, Recovery, Retry, Role,
    RoleGrant, Tier, Tiers, Workload,
};
use switchyard_jobs::{
    handler::Child,
    model::{JobId, JobState, Queue, TenantId},
    setup,
    store::{
        Address, Admission, CancelOutcome, Claim, Idempotency, JobFilter, KeyHash, Lease, NewTenant, Policy,
        ResultOutcome, Retention, Store, SubmitRequest, migrate,
    },
    testing::{Postgres, TestDatabase, postgres, rabbitmq, redis},
};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls, error::SqlState};
use uuid::Uuid;

use crate::fixture::request;

/// Tables with rows of tenants, which the API may read.
const TENANT_TABLES: [&str; 6] = ["tenants", "jobs", "outputs", "events", "idempotency", "ledger"];

const CONNECTIONS: ConnectionPool =
    ConnectionPool { size: 3, overflow: 0, wait_timeout_seconds: 10, statement_timeout_seconds: 10 };

/// The server of these tests. Roles belong to a whole server, so other tests must not share it.
async fn server() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER.get_or_init(|| Postgres::own(&["fsync=off"])).await
}

/// An installation with two tenants, each with a completed and a queued analysis.
struct Installation {
    database: TestDatabase,
    ours: TenantData,
    theirs: TenantData,
}

struct TenantData {
    tenant: TenantId,
    key: KeyHash,
    completed: JobId,
    queued: JobId,
    remembered: Idempotency,
}

/// The installation of tests that do not change it.
async fn installation() -> &'static Installation {
    static INSTALLATION: OnceCell<Installation> = OnceCell::const_new();
    INSTALLATION.get_or_init(Installation::new).await
}

impl Installation {
    async fn new() -> Self {
        let database = server().await.bare_database().await;
        set_up(&database).await;
        let (api, workers) = (open(&database, Role::Api), open(&database, Role::Workers));
        let (mut ours, mut theirs) =
            (create_tenant_data(&api, &workers).await, create_tenant_data(&api, &workers).await);
        ours.queued = submit(&api, request(ours.key, "grace")).await;
        theirs.queued = submit(&api, request(theirs.key, "barbara")).await;
        Self { database, ours, theirs }
    }

    fn api(&self) -> Store {
        open(&self.database, Role::Api)
    }

    /// Connects as `role`.
    async fn login(&self, role: Role) -> Client {
        let (client, connection) = tokio_postgres::connect(&login_uri(&self.database, role), NoTls).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        client
    }
}

/// Runs the setup Job's code, with passwords for all roles.
async fn set_up(database: &TestDatabase) {
    let folder = env::temp_dir().join(format!("switchyard-test-{}-isolation-{}", process::id(), Uuid::now_v7()));
    let secret = |group: &str, key: &str, value: &str| {
        let group = folder.join("secrets").join(group);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join(key), value).unwrap();
    };
    secret("database", "uri", &database.uri);
    secret("broker", "uri", &rabbitmq().await.vhost());
    secret("cache", "uri", &redis().await.database());
    for role in Role::ALL {
        secret("database-roles", role.as_str(), &password(*role));
    }
    let grant = |role: &Role| RoleGrant { role: *role, connections: 50, statement_timeout_seconds: 10 };
    let config = Config {
        platform: Platform { namespace: "test".to_owned(), name: "test".to_owned() },
        workload: Workload::Setup { roles: Role::ALL.iter().map(grant).collect() },
        database: Database { role: Role::Api, pooler: Pooler::None, connections: CONNECTIONS },
        lanes: Lanes::default(),
        tiers: Tiers::default(),
        retry: Retry::default(),
        analysis: Analysis::default(),
        object_store: None,
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
    };
    let done = setup::run(&config, &Mount::at(&folder)).await;
    let _ = fs::remove_dir_all(&folder);
    done.unwrap();
}

fn open(database: &TestDatabase, role: Role) -> Store {
    let address = Address::parse(&login_uri(database, role), "uri").unwrap();
    Store::open(&address, "switchyard-test", CONNECTIONS, Policy::default())
}

fn login_uri(database: &TestDatabase, role: Role) -> String {
    let (_, host) = database.uri.split_once('@').unwrap();
    format!("postgres://{role}:{}@{host}", password(role))
}

fn password(role: Role) -> String {
    format!("password-of-{role}")
}

/// Creates a tenant and completes one analysis that has a child. Uses the roles of an installation.
async fn create_tenant_data(api: &Store, workers: &Store) -> TenantData {
    let new = NewTenant { name: "tester", tier: Tier::Enterprise, credits: 100 };
    let tenant = api.create_tenant(&new).await.unwrap().id;
    let key = KeyHash::of(api.create_key(tenant).await.unwrap().unwrap().secret.expose_secret());
    let remembered = Idempotency::of("once", b"x");
    let completed = submit(api, SubmitRequest { idempotency: Some(remembered.clone()), ..request(key, "ada") }).await;
    let child = Child { kind: Kind::Ai, input: json!({}), required: true };
    let first = claim(workers, Kind::General).await.run_key();
    workers.spawn(first, &json!({}), &[child], "children").await.unwrap().unwrap();
    workers.complete(claim(workers, Kind::Ai).await.run_key(), &json!({})).await.unwrap().unwrap();
    let join = claim(workers, Kind::General).await.run_key();
    workers.complete_analysis(join, &json!({ "of": tenant })).await.unwrap().unwrap();
    TenantData { tenant, key, completed, queued: completed, remembered }
}

async fn submit(api: &Store, request: SubmitRequest) -> JobId {
    match api.submit(request).await.unwrap() {
        Admission::Accepted { job, .. } => job.id,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Claims the only claimable job of `kind`.
async fn claim(workers: &Store, kind: Kind) -> Claim {
    let lease = Lease { worker: "test", duration: Duration::from_mins(1), call: Uuid::now_v7(), again: false };
    let mut claims = workers.claim(Queue { kind, lane: Lane::Critical }, 1, &lease).await.unwrap();
    claims.pop().expect("a job is claimable")
}

/// Queries each table as the API, without a condition, and returns a line for each leak that it
/// finds.
async fn leaks(installation: &Installation) -> Vec<String> {
    let all = installation.database.client().await;
    let mut client = installation.login(Role::Api).await;
    let mut wrong = Vec::new();
    for table in TENANT_TABLES {
        let count = format!("select count(*) from switchyard.{table}");
        let seen: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
        if seen != 0 {
            wrong.push(format!("{table}: {seen} rows without a tenant"));
        }
        let of_tenant = match table {
            "tenants" => "id = $1",
            "outputs" | "events" => "job_id in (select id from switchyard.jobs where tenant_id = $1)",
            _ => "tenant_id = $1",
        };
        let own = format!("{count} where {of_tenant}");
        for tenant in [installation.ours.tenant, installation.theirs.tenant] {
            let own: i64 = all.query_one(&own, &[&tenant.0]).await.unwrap().get(0);
            assert!(own > 0, "{table} has rows of the tenant");
            let transaction = client.transaction().await.unwrap();
            let setting = "select set_config('switchyard.tenant', $1, true)";
            transaction.execute(setting, &[&tenant.to_string()]).await.unwrap();
            let seen: i64 = transaction.query_one(&count, &[]).await.unwrap().get(0);
            transaction.commit().await.unwrap();
            if seen != own {
                wrong.push(format!("{table}: {seen} rows for a tenant that has {own}"));
            }
        }
        let after: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
        if after != 0 {
            wrong.push(format!("{table}: {after} rows for the next user of a connection"));
        }
    }
    wrong
}

#[tokio::test]
async fn query_without_a_condition_shows_rows_of_one_tenant_or_none() {
    let installation = Installation::new().await;
    assert_eq!(leaks(&installation).await, [""; 0]);

    // The check detects each kind of leak.
    let owner = installation.database.client().await;
    owner.batch_execute("alter table switchyard.jobs disable row level security").await.unwrap();
    assert!(leaks(&installation).await.iter().any(|leak| leak.starts_with("jobs:")));
    owner.batch_execute("alter table switchyard.jobs enable row level security").await.unwrap();
    owner.batch_execute("create policy everyone on switchyard.outputs using (true)").await.unwrap();
    assert!(leaks(&installation).await.iter().any(|leak| leak.starts_with("outputs:")));
    owner.batch_execute("drop policy everyone on switchyard.outputs").await.unwrap();
    owner.batch_execute("drop policy of_tenant on switchyard.idempotency").await.unwrap();
    assert!(leaks(&installation).await.iter().any(|leak| leak.starts_with("idempotency: 0 rows for a tenant")));
}

#[tokio::test]
async fn read_leaves_no_tenant_for_the_next_user_of_its_connection() {
    let installation = installation().await;
    let client = installation.login(Role::Api).await;
    let (ours, job) = (installation.ours.tenant.0, installation.ours.completed.0);
    let reads: [(&str, &[&(dyn tokio_postgres::types::ToSql + Sync)]); 7] = [
        ("select switchyard.tenant_job($1, $2)", &[&ours, &job]),
        ("select switchyard.tenant_jobs($1, null, null, false, null, 10)", &[&ours]),
        ("select switchyard.tenant_result($1, $2)", &[&ours, &job]),
        ("select switchyard.tenant_latest_result($1, 'ada')", &[&ours]),
        ("select switchyard.tenant_events_after($1, $2, 0)", &[&ours, &job]),
        ("select switchyard.tenant_usage($1)", &[&ours]),
        ("select switchyard.tenant_answer($1, 'once', '')", &[&ours]),
    ];
    for (read, params) in reads {
        let rows = client.query(read, params).await.unwrap();
        assert!(rows.iter().all(|row| row.get::<_, Option<serde_json::Value>>(0).is_some()), "{read} returns rows");
        assert!(!rows.is_empty(), "{read} returns rows");
        let left: i64 = client.query_one("select count(*) from switchyard.jobs", &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "{read} does not reset the tenant");
    }
}

#[tokio::test]
async fn no_read_shows_rows_of_another_tenant() {
    let installation = installation().await;
    let (api, Installation { ours, theirs, .. }) = (installation.api(), installation);
    for job in [theirs.completed, theirs.queued] {
        assert_eq!(api.job(ours.tenant, job).await.unwrap(), None);
        assert_eq!(api.result(ours.tenant, job).await.unwrap(), ResultOutcome::NotFound);
        assert_eq!(api.events_after(Some(ours.tenant), job, 0).await.unwrap(), []);
        assert_eq!(api.cancel(ours.tenant, job).await.unwrap(), CancelOutcome::NotFound);
    }
    assert_eq!(api.job(theirs.tenant, theirs.queued).await.unwrap().unwrap().state, JobState::Queued);
    let everything = JobFilter { discovered: true, limit: 200, ..JobFilter::default() };
    for data in [ours, theirs] {
        let mut listed: Vec<JobId> =
            api.jobs(data.tenant, &everything).await.unwrap().jobs.iter().map(|j| j.id).collect();
        listed.sort_unstable();
        assert_eq!(listed, [data.completed, data.queued]);
        let ResultOutcome::Finished { result, .. } = api.result(data.tenant, data.completed).await.unwrap() else {
            panic!("a tenant reads its own result")
        };
        assert_eq!(result, json!({ "of": data.tenant }));
        let (job, result) = api.latest_result(data.tenant, "ada").await.unwrap().unwrap();
        assert_eq!((job.id, result), (data.completed, json!({ "of": data.tenant })));
        assert_eq!(api.usage(data.tenant).await.unwrap().unwrap().running, 1);
        let Some(Admission::Replayed { job, .. }) = api.answered(data.tenant, &data.remembered).await.unwrap() else {
            panic!("the idempotency key is stored")
        };
        assert_eq!(job.id, data.completed);
        assert_eq!(api.authenticate(data.key).await.unwrap().unwrap().id, data.tenant);
    }
    // Admins see all tenants.
    let all: Vec<TenantId> = api.all_jobs(&everything).await.unwrap().jobs.iter().map(|job| job.tenant).collect();
    assert!(all.contains(&ours.tenant) && all.contains(&theirs.tenant));
    assert_eq!(api.any_job(theirs.queued).await.unwrap().unwrap().tenant, theirs.tenant);
}

#[tokio::test]
async fn every_tenant_table_has_row_level_security() {
    let database = postgres().await.database().await;
    let open = "select c.relname::text from pg_class c
        where c.relnamespace = 'switchyard'::regnamespace and c.relkind in ('r', 'p')
          and (c.relname = 'tenants' or exists (
              select from pg_attribute a where a.attrelid = c.oid and not a.attisdropped and a.attname in ('tenant_id', 'job_id')))
          and not (c.relrowsecurity and exists (select from pg_policy p where p.polrelid = c.oid))";
    let client = database.client().await;
    let names =
        async || -> Vec<String> { client.query(open, &[]).await.unwrap().iter().map(|row| row.get(0)).collect() };
    assert_eq!(names().await, [""; 0]);
    client.batch_execute("create table switchyard.secrets (tenant_id uuid)").await.unwrap();
    assert_eq!(names().await, ["secrets"]);
}

#[tokio::test]
async fn every_function_with_the_rights_of_the_owner_has_the_settings() {
    let database = postgres().await.database().await;
    let mut client = database.client().await;
    let different = "select p.proname::text from pg_proc p join pg_language l on l.oid = p.prolang
        where p.pronamespace = 'switchyard'::regnamespace and p.prosecdef and p.proconfig is distinct from
            array['search_path=pg_catalog, pg_temp', 'enable_seqscan=off', 'jit=off']
            || case when l.lanname = 'plpgsql' then array['plan_cache_mode=force_generic_plan'] else '{}' end";
    let names = async |client: &Client| -> Vec<String> {
        client.query(different, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let all = "select count(*) from pg_proc where pronamespace = 'switchyard'::regnamespace and prosecdef";
    assert!(client.query_one(all, &[]).await.unwrap().get::<_, i64>(0) > 40);
    assert_eq!(names(&client).await, [""; 0]);

    let forgotten = "create function switchyard.forgotten() returns int language sql security definer as 'select 1'";
    client.batch_execute(forgotten).await.unwrap();
    client.batch_execute("alter function switchyard.pause reset all").await.unwrap();
    let mut found = names(&client).await;
    found.sort_unstable();
    assert_eq!(found, ["forgotten", "pause"]);
    migrate(&mut client).await.unwrap();
    assert_eq!(names(&client).await, [""; 0], "a migration restores the settings");
}

#[tokio::test]
async fn functions_under_old_names_and_parameters_are_replaced() {
    let database = postgres().await.database().await;
    let mut client = database.client().await;
    let old = "delete from switchyard.schema_version where version = 7;
        drop function switchyard.pause;
        create function switchyard.pause(p_queue_kind text, p_lane text, p_paused boolean) returns boolean
            language sql as 'select true';
        create function switchyard.owed(p_job uuid) returns int language sql as 'select 1'";
    client.batch_execute(old).await.unwrap();
    migrate(&mut client).await.unwrap();
    let names = "select count(*) filter (where proname = 'owed'),
            count(*) filter (where proname = 'pause' and 'p_queue_kind' = any (proargnames)),
            count(*) filter (where proname in ('pause', 'current_tenant'))
        from pg_proc where pronamespace = 'switchyard'::regnamespace";
    let row = client.query_one(names, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (0, 0, 2));
}

#[tokio::test]
async fn workers_read_no_table_and_the_api_writes_none() {
    let installation = installation().await;
    let owner = installation.database.client().await;
    let sql = "select c.relname::text || ' ' || g.granted from pg_class c
        cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) as g (granted)
        where c.relnamespace = 'switchyard'::regnamespace and c.relkind in ('r', 'p') and has_table_privilege($1, c.oid, g.granted)
        order by 1";
    for role in Role::ALL {
        let rights: Vec<String> =
            owner.query(sql, &[&role.as_str()]).await.unwrap().iter().map(|row| row.get(0)).collect();
        let expected: &[&str] = match role {
            Role::Api => &[
                "events select",
                "idempotency select",
                "jobs select",
                "ledger select",
                "outputs select",
                "tenants select",
            ],
            Role::Workers | Role::AiWorkers | Role::Discovery => &[],
        };
        assert_eq!(rights, expected, "{role}");
    }
    for role in [Role::Workers, Role::AiWorkers, Role::Discovery] {
        let client = installation.login(role).await;
        for refused in [
            "select from switchyard.jobs",
            "select switchyard.any_job(gen_random_uuid())",
            "select switchyard.tenant_job(gen_random_uuid(), gen_random_uuid())",
            "select switchyard.grant_credits(gen_random_uuid(), 1, '')",
            "select switchyard.cancel(gen_random_uuid(), gen_random_uuid())",
        ] {
            let error = client.query(refused, &[]).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{role}: {refused}");
        }
    }
    let api = installation.login(Role::Api).await;
    for refused in [
        "select hash from switchyard.api_keys",
        "select switchyard.release(gen_random_uuid(), 1)",
        "select switchyard.heartbeat('{}', '{}', 1)",
    ] {
        let error = api.query(refused, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
    }
    // The API reads the ledger as a tenant. Without one it sees no rows.
    let ledger = api.query_one("select count(*) from switchyard.ledger", &[]).await.unwrap();
    assert_eq!(ledger.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn tenant_reads_use_indexes_under_row_level_security() {
    let installation = Installation::new().await;
    let owner = installation.database.client().await;
    owner
        .batch_execute(
            "insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, turn, finished_at)
             select id, tenant, id, 'api', 'general', 'low', 'completed', 'u', '{}', now(), now()
             from (select gen_random_uuid() as id, gen_random_uuid() as tenant from generate_series(1, 5000)) made;
             analyze switchyard.jobs",
        )
        .await
        .unwrap();
    let mut api = installation.login(Role::Api).await;
    let transaction = api.transaction().await.unwrap();
    let setting = "select set_config('switchyard.tenant', $1, true)";
    transaction.execute(setting, &[&installation.ours.tenant.to_string()]).await.unwrap();
    let explain = "explain select * from switchyard.jobs where parent_id is null order by id desc limit 50";
    let plan: Vec<String> = transaction.query(explain, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("jobs_of_tenant") && plan.contains("tenant_id = "), "{plan}");
}

#[tokio::test]
async fn key_is_rotated_without_a_gap_and_revoked_at_once() {
    let installation = Installation::new().await;
    let (api, Installation { ours, theirs, .. }) = (installation.api(), &installation);
    let fresh = api.create_key(ours.tenant).await.unwrap().unwrap();
    let hash = KeyHash::of(fresh.secret.expose_secret());
    let keys = api.keys(ours.tenant).await.unwrap().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1].id, fresh.id);
    for key in [ours.key, hash] {
        assert_eq!(api.authenticate(key).await.unwrap().unwrap().id, ours.tenant);
    }
    assert!(!api.revoke_key(theirs.tenant, keys[0].id).await.unwrap(), "a tenant cannot revoke another tenant's key");
    assert!(api.revoke_key(ours.tenant, keys[0].id).await.unwrap());
    assert_eq!(api.authenticate(ours.key).await.unwrap(), None);
    assert_eq!(api.submit(request(ours.key, "x")).await.unwrap(), Admission::Unauthenticated);
    assert_eq!(api.authenticate(hash).await.unwrap().unwrap().id, ours.tenant);
    let keys = api.keys(ours.tenant).await.unwrap().unwrap();
    assert!(keys[0].revoked_at.is_some() && keys[1].revoked_at.is_none());
    assert_eq!(api.keys(TenantId(Uuid::now_v7())).await.unwrap(), None);
}

#[tokio::test]
async fn first_event_is_derived_and_removed_with_the_others() {
    let installation = Installation::new().await;
    let (api, ours) = (installation.api(), &installation.ours);
    for tenant in [Some(ours.tenant), None] {
        let events = api.events_after(tenant, ours.queued, 0).await.unwrap();
        assert_eq!(events.len(), 1);
        let job = api.any_job(ours.queued).await.unwrap().unwrap();
        assert_eq!((events[0].seq, events[0].state.as_str(), events[0].at), (1, "queued", job.created_at));
        assert_eq!(api.events_after(tenant, ours.queued, 1).await.unwrap(), []);
        let seqs: Vec<i64> =
            api.events_after(tenant, ours.completed, 0).await.unwrap().iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
        assert!(seqs.len() > 3);
    }
    let kept = Retention { events: Duration::ZERO, ..Retention::default() };
    assert!(api.retain(&kept, 100).await.unwrap().events > 0);
    assert_eq!(api.events_after(Some(ours.tenant), ours.completed, 0).await.unwrap(), []);
    assert_eq!(api.events_after(Some(ours.tenant), ours.queued, 0).await.unwrap().len(), 1);
}
