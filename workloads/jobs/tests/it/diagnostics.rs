//! Quarantine of crashing jobs, worker heartbeats, and what operators read.

use serde_json::json;
use switchyard_contract::{Kind, Tier};
use switchyard_jobs::{
    handler::Child,
    model::{JobId, JobState},
    recovery::Action,
    store::{Claim, FailOutcome, JobFilter, Reaped, WorkerHeartbeat},
    trace,
};

use crate::fixture::{Fixture, fixture, tenant};

fn heartbeat(name: &str) -> WorkerHeartbeat<'_> {
    WorkerHeartbeat {
        name,
        pool: "general",
        kind: Kind::General,
        concurrency: 8,
        running: 1,
        memory_bytes: 1 << 20,
        memory_limit_bytes: Some(1 << 30),
        draining: false,
        uptime_seconds: 0.0,
    }
}

/// Records a heartbeat of `worker` and claims the job in its name.
async fn claim_as(g: &Fixture, job: JobId, worker: &str) -> Claim {
    g.store.worker_seen(&WorkerHeartbeat { uptime_seconds: 3600.0, ..heartbeat(worker) }).await.unwrap();
    let claim = g.claim_analysis(job).await;
    let client = g.database.client().await;
    client.execute("update switchyard.jobs set worker = $2 where id = $1", &[&job.0, &worker]).await.unwrap();
    claim
}

/// Reaps the claim after its lease has expired and its worker has restarted.
async fn reap_after_restart(g: &Fixture, claim: &Claim, worker: &str) -> Reaped {
    let client = g.database.client().await;
    client
        .execute(
            "update switchyard.jobs set lease_until = now() - interval '1 second' where id = $1",
            &[&claim.job.id.0],
        )
        .await
        .unwrap();
    g.store.worker_seen(&heartbeat(worker)).await.unwrap();
    g.store.reap(claim.run_key(), true).await.unwrap()
}

async fn code_of(g: &Fixture, job: JobId) -> String {
    g.job(job).await.error.expect("an error").code
}

#[tokio::test]
async fn job_that_crashes_two_workers_is_quarantined_and_refunded() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("poison").await.id;
    let before = g.balance().await;
    let claim = claim_as(&g, job, "first").await;
    let reaped = reap_after_restart(&g, &claim, "first").await;
    assert!(matches!(reaped, Reaped { outcome: FailOutcome::Retrying { .. }, quarantined: false }), "{reaped:?}");
    assert_eq!(code_of(&g, job).await, "worker-died");

    let claim = claim_as(&g, job, "second").await;
    let reaped = reap_after_restart(&g, &claim, "second").await;
    assert!(matches!(reaped, Reaped { outcome: FailOutcome::Dead { .. }, quarantined: true }), "{reaped:?}");
    assert_eq!((g.job(job).await.state, code_of(&g, job).await.as_str()), (JobState::Dead, "poisonous-job"));
    assert!(g.balance().await > before, "the credits are refunded");
    let recovered = g.store.platform_snapshot().await.unwrap().recoveries;
    assert_eq!(recovered.len(), 1);
    assert_eq!((recovered[0].action.as_str(), recovered[0].subject.as_str()), ("job-quarantined", &*job.to_string()));
    assert!(recovered[0].evidence.contains("first") && recovered[0].evidence.contains("second"), "{recovered:?}");
    // An admin replays the job once the cause is fixed.
    g.store.replay(job).await.unwrap();
    assert_eq!(g.job(job).await.state, JobState::Queued);
}

#[tokio::test]
async fn job_is_not_quarantined_when_another_one_ran_both_times() {
    let g = fixture(Tier::Premium, 100).await;
    let (one, other) = (g.submit("one").await.id, g.submit("other").await.id);
    for worker in ["first", "second"] {
        let claims = [claim_as(&g, one, worker).await, claim_as(&g, other, worker).await];
        for claim in &claims {
            let reaped = reap_after_restart(&g, claim, worker).await;
            assert!(
                matches!(reaped, Reaped { outcome: FailOutcome::Retrying { .. }, quarantined: false }),
                "{reaped:?}"
            );
        }
    }
    assert!(g.store.platform_snapshot().await.unwrap().recoveries.is_empty());
}

#[tokio::test]
async fn silent_worker_does_not_count_as_crashed() {
    let g = fixture(Tier::Standard, 100).await;
    let job = g.submit("slow").await.id;
    for attempt in 0..2 {
        let claim = claim_as(&g, job, "only").await;
        let client = g.database.client().await;
        // In the second round the worker has sent no heartbeat for an hour.
        let silence = if attempt == 0 { "0" } else { "3600" };
        let update = format!(
            "update switchyard.jobs set lease_until = now() - interval '1 second' where id = '{}';
             update switchyard.workers set seen_at = now() - interval '{silence} seconds'",
            job.0
        );
        client.batch_execute(&update).await.unwrap();
        g.store.reap(claim.run_key(), true).await.unwrap();
        assert_eq!(code_of(&g, job).await, "lease-expired");
    }
}

#[tokio::test]
async fn without_quarantine_a_job_has_all_its_attempts() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("poison").await.id;
    for worker in ["first", "second"] {
        let claim = claim_as(&g, job, worker).await;
        let client = g.database.client().await;
        client
            .execute("update switchyard.jobs set lease_until = now() - interval '1 second' where id = $1", &[&job.0])
            .await
            .unwrap();
        g.store.worker_seen(&heartbeat(worker)).await.unwrap();
        let reaped = g.store.reap(claim.run_key(), false).await.unwrap();
        assert!(matches!(reaped.outcome, FailOutcome::Retrying { .. }), "{reaped:?}");
    }
}

#[tokio::test]
async fn workers_are_listed_until_they_leave_and_recoveries_are_recorded() {
    let g = fixture(Tier::Free, 1).await;
    g.store.worker_seen(&heartbeat("a")).await.unwrap();
    g.store.worker_seen(&WorkerHeartbeat { running: 5, draining: true, ..heartbeat("a") }).await.unwrap();
    g.store.worker_seen(&heartbeat("b")).await.unwrap();
    let workers = g.store.workers().await.unwrap();
    let seen: Vec<_> = workers.iter().map(|w| (w.name.as_str(), w.running, w.draining)).collect();
    assert_eq!(seen, [("a", 5, true), ("b", 1, false)]);
    g.store.worker_gone("a").await.unwrap();
    assert_eq!(g.store.workers().await.unwrap().len(), 1);
    g.store.recovered(Action::MemoryDrain, "a", "memory limit reached").await.unwrap();
    let snapshot = g.store.platform_snapshot().await.unwrap();
    assert_eq!((snapshot.workers.len(), snapshot.workers[0].kind, snapshot.workers[0].seen), (1, Kind::General, 1));
    assert_eq!((snapshot.recoveries.len(), snapshot.recoveries[0].action.as_str()), (1, "memory-drain"));
}

#[tokio::test]
async fn jobs_are_found_by_id_or_name_prefix_within_the_tenant() {
    let g = fixture(Tier::Enterprise, 1000).await;
    let (_, other_tenant) = tenant(&g.store, Tier::Enterprise, 1000).await;
    let mut ids = Vec::new();
    for name in ["ada", "ada.lovelace", "Ada", "adele", "a"] {
        ids.push(g.submit(name).await.id);
    }
    g.store.submit(crate::fixture::request(other_tenant, "ada.other")).await.unwrap();
    // The first has completed, the second runs.
    let claim = g.claim_analysis(ids[0]).await;
    g.store.complete(claim.run_key(), &json!({})).await.unwrap().expect("held");
    g.claim_analysis(ids[1]).await;
    let find = async |search: &str| {
        let filter = JobFilter { search: Some(search.to_owned()), limit: 50, ..JobFilter::default() };
        let page = g.store.jobs(g.tenant, &filter).await.unwrap();
        page.jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(find("ada").await, [ids[1], ids[0]]);
    assert_eq!(find("ad").await, [ids[3], ids[1], ids[0]]);
    assert_eq!(find("a_a").await, []);
    assert_eq!(find(&ids[2].to_string()).await, [ids[2]]);
    assert_eq!(find("zzz").await, []);
    let filter = JobFilter { search: Some("ada".to_owned()), limit: 50, ..JobFilter::default() };
    assert_eq!(g.store.all_jobs(&filter).await.unwrap().jobs.len(), 3);
    let own = JobFilter { tenant: Some(g.tenant), ..filter.clone() };
    assert_eq!(g.store.all_jobs(&own).await.unwrap().jobs.len(), 2);
    let running = JobFilter { state: Some(JobState::Running), ..filter };
    assert_eq!(g.store.jobs(g.tenant, &running).await.unwrap().jobs.len(), 1);
}

#[tokio::test]
async fn rare_job_is_found_without_reading_a_hundred_thousand_others() {
    let g = fixture(Tier::Enterprise, 100).await;
    let client = g.database.client().await;
    client
        .batch_execute(
            "insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, turn, created_at, finished_at)
             select switchyard.first_id(now() - n * interval '1 second'), gen_random_uuid(), gen_random_uuid(), 'api', 'general', 'normal',
                 case when n % 20000 = 7 then 'dead' else 'completed' end, 'user' || n, '{}', now(), now() - n * interval '1 second',
                 now() - n * interval '1 second'
             from generate_series(1, 100000) n;
             analyze switchyard.jobs",
        )
        .await
        .unwrap();
    let began = std::time::Instant::now();
    let dead = JobFilter { state: Some(JobState::Dead), limit: 50, ..JobFilter::default() };
    assert_eq!(g.store.all_jobs(&dead).await.unwrap().jobs.len(), 5);
    let named = JobFilter { search: Some("user9999".to_owned()), limit: 50, ..JobFilter::default() };
    assert_eq!(g.store.all_jobs(&named).await.unwrap().jobs.len(), 11);
    let running = JobFilter { state: Some(JobState::Running), limit: 50, ..JobFilter::default() };
    assert_eq!(g.store.all_jobs(&running).await.unwrap().jobs.len(), 0);
    eprintln!("three reads took {:?}", began.elapsed());
    let mut client = g.database.client().await;
    let transaction = client.transaction().await.unwrap();
    for (state, search) in
        [(Some("dead"), None), (Some("running"), None), (Some("queued"), None), (None, Some("user9999"))]
    {
        let call = "select count(*) from switchyard.all_jobs($1, null, true, null, 50, $2)";
        transaction.query_one(call, &[&state, &search]).await.unwrap();
    }
    let read = transaction
        .query_one(
            "select coalesce(sum(seq_tup_read), 0)::bigint + coalesce(sum(idx_tup_fetch), 0)::bigint from pg_stat_xact_user_tables where relname = 'jobs'",
            &[],
        )
        .await
        .unwrap();
    assert!(read.get::<_, i64>(0) < 1000, "{} rows were read", read.get::<_, i64>(0));
}

#[tokio::test]
async fn job_report_has_children_failures_events_and_ledger() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await.id;
    let claim = g.claim_analysis(job).await;
    let child = Child { kind: Kind::Ai, input: json!(1), required: false };
    g.store.spawn(claim.run_key(), &json!({}), &[child], "analysing").await.unwrap().expect("held");
    let child = g.claim(g.children(job).await[0], Kind::Ai).await.unwrap();
    g.fail(&child, &crate::fixture::transient_error()).await;
    let report = g.store.job_report(job).await.unwrap().unwrap();
    assert_eq!((report.job.id, report.children.len(), report.ledger.len()), (job, 1, 1));
    assert_eq!(report.children[0].failures[0].error.code, "test-error");
    assert!(report.ledger[0].amount < 0);
    let stages: Vec<_> = report.timeline.iter().map(|event| event.stage.as_str()).collect();
    assert_eq!(stages, ["queued", "running", "analysing"]);
    assert!(g.store.job_report(child.job.id).await.unwrap().is_none(), "a child is reported with its analysis");
    assert!(g.store.job_report(JobId::fresh()).await.unwrap().is_none());
}

#[tokio::test]
async fn ledger_is_paged_and_limited_to_its_tenant() {
    let g = fixture(Tier::Enterprise, 1000).await;
    for n in 0..4 {
        g.submit(&format!("user{n}")).await;
    }
    let first = g.store.ledger(g.tenant, None, 3).await.unwrap();
    let second = g.store.ledger(g.tenant, first.next, 3).await.unwrap();
    assert_eq!((first.entries.len(), second.entries.len(), second.next), (3, 2, None));
    let sum: i64 = first.entries.iter().chain(&second.entries).map(|entry| entry.amount).sum();
    assert_eq!(sum, g.balance().await);
    assert_eq!(g.store.any_ledger(g.tenant, None, 3).await.unwrap(), first);
    let (other, _) = tenant(&g.store, Tier::Free, 0).await;
    assert!(g.store.ledger(other, None, 3).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn tenants_are_found_by_name_prefix_and_paged() {
    let g = fixture(Tier::Free, 1).await;
    for _ in 0..3 {
        tenant(&g.store, Tier::Free, 1).await;
    }
    let first = g.store.tenants(None, None, 3).await.unwrap();
    let second = g.store.tenants(None, first.next, 3).await.unwrap();
    assert_eq!((first.tenants.len(), second.tenants.len(), second.next), (3, 1, None));
    assert_eq!(g.store.tenants(Some("TEST"), None, 10).await.unwrap().tenants.len(), 4);
    assert_eq!(g.store.tenants(Some("ester"), None, 10).await.unwrap().tenants.len(), 0);
    let one = g.store.tenants(Some(&g.tenant.to_string()), None, 10).await.unwrap();
    assert_eq!(one.tenants[0].id, g.tenant);
}

#[tokio::test]
async fn trace_is_passed_to_the_job_and_its_children() {
    let g = fixture(Tier::Standard, 10).await;
    let request = trace::Context::root(true);
    let job = trace::scope(request, g.submit("traced")).await.id;
    let claim = g.claim_analysis(job).await;
    assert_eq!(claim.trace, Some(request));
    assert!(claim.age.is_some());
    let attempt = request.child();
    let (kept, children) = (json!({}), [Child { kind: Kind::Ai, input: json!(1), required: true }]);
    let spawned = g.store.spawn(claim.run_key(), &kept, &children, "analysing");
    trace::scope(attempt, spawned).await.unwrap().expect("held");
    let child = g.claim(g.children(job).await[0], Kind::Ai).await.unwrap();
    assert_eq!(child.trace, Some(attempt));
    assert_eq!(g.store.job_report(job).await.unwrap().unwrap().trace, Some(request.trace_id()));

    let plain = g.submit("plain").await.id;
    assert_eq!(g.claim_analysis(plain).await.trace, None);
    assert_eq!(g.store.job_report(plain).await.unwrap().unwrap().trace, None);
}
