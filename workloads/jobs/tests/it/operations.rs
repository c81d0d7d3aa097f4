//! Lists of jobs, tenant reports and retention.

use serde_json::json;
use switchyard_contract::Tier;
use switchyard_jobs::{
    model::JobState,
    store::{JobFilter, Removed, Retention},
};

use crate::fixture::fixture;

#[tokio::test]
async fn lists_are_paged_newest_first_and_filtered() {
    let g = fixture(Tier::Enterprise, 100).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(g.submit(&format!("user{n}")).await.id);
    }
    ids.reverse();
    let filter = JobFilter { limit: 2, ..JobFilter::default() };
    let first = g.store.jobs(g.tenant, &filter).await.unwrap();
    assert_eq!(first.jobs.iter().map(|j| j.id).collect::<Vec<_>>(), ids[..2]);
    let second = g.store.jobs(g.tenant, &JobFilter { cursor: first.next, ..filter.clone() }).await.unwrap();
    assert_eq!(second.jobs.iter().map(|j| j.id).collect::<Vec<_>>(), ids[2..4]);
    let last = g.store.jobs(g.tenant, &JobFilter { cursor: second.next, ..filter.clone() }).await.unwrap();
    assert_eq!((last.jobs.len(), last.next), (1, None));

    g.claim_analysis(ids[0]).await;
    let running = JobFilter { state: Some(JobState::Running), limit: 50, ..JobFilter::default() };
    let listed = g.store.all_jobs(&running).await.unwrap();
    assert_eq!(listed.jobs.iter().map(|j| j.id).collect::<Vec<_>>(), [ids[0]]);
}

#[tokio::test]
async fn missing_tenant_is_none_and_a_ledger_sums_up_to_the_balance() {
    let g = fixture(Tier::Free, 7).await;
    let report = g.store.tenant(g.tenant).await.unwrap().unwrap();
    assert_eq!((report.credits, report.ledger_sum, report.running, report.today), (7, 7, 0, 0));
    let unknown = switchyard_jobs::model::TenantId(uuid::Uuid::nil());
    assert_eq!(g.store.tenant(unknown).await.unwrap(), None);
    assert!(g.store.create_key(unknown).await.unwrap().is_none());
    assert_eq!(g.store.grant_credits(unknown, 1, "").await.unwrap(), None);
    assert_eq!(g.store.usage(unknown).await.unwrap(), None);
}

#[tokio::test]
async fn retention_finds_old_rows_without_scanning_tables() {
    let g = fixture(Tier::Enterprise, 100).await;
    g.database
        .client()
        .await
        .batch_execute(
            "insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, turn, finished_at)
             select id, id, id, 'api', 'general', 'low', 'completed', 'u', '{}', now(), now() - n * interval '1 hour'
             from (select gen_random_uuid() as id, n from generate_series(1, 800) n) made;
             insert into switchyard.jobs (id, tenant_id, root_id, parent_id, origin, kind, lane, state, username, input, turn, finished_at)
             select gen_random_uuid(), id, id, id, 'child', 'ai', 'low', 'completed', 'u', '{}', now(), finished_at from switchyard.jobs;
             insert into switchyard.events select id, 1, 'completed', 100, '', finished_at from switchyard.jobs where parent_id is null;
             insert into switchyard.outputs (job_id, output) select id, '{}' from switchyard.jobs;
             insert into switchyard.idempotency select id, 'k', '', id, '{}', finished_at from switchyard.jobs where parent_id is null;
             analyze",
        )
        .await
        .unwrap();
    let days = |n: i32| f64::from(n) * 86400.0;
    // A new connection, because the statistics of the first one include its own reads.
    let mut client = g.database.client().await;
    let transaction = client.transaction().await.unwrap();
    let call = "select switchyard.retain($1, $2, $3, 100)";
    let row = transaction.query_one(call, &[&days(3), &days(1), &days(30)]).await.unwrap();
    // 81 analyses ended 720 hours ago or earlier, each with one child.
    assert_eq!(row.get::<_, serde_json::Value>(0), json!({"events": 100, "idempotency": 100, "jobs": 162}));
    // These two tables are always small: scanning them is cheap.
    let read =
        "select relname::text, seq_scan from pg_stat_xact_user_tables where schemaname = 'switchyard' and seq_scan > 0
           and relname not in ('workers', 'recoveries')";
    let read: Vec<(String, i64)> =
        transaction.query(read, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(read.is_empty(), "sequential scans: {read:?}");
}

#[tokio::test]
async fn retention_removes_only_old_finished_jobs() {
    let g = fixture(Tier::Enterprise, 100).await;
    let (old, young, open) = (g.submit("old").await.id, g.submit("young").await.id, g.submit("open").await.id);
    for id in [old, young] {
        let claim = g.claim_analysis(id).await;
        g.store.complete(claim.run_key(), &json!({})).await.unwrap().expect("held");
    }
    g.database
        .client()
        .await
        .execute("update switchyard.jobs set finished_at = now() - interval '31 days' where id = $1", &[&old.0])
        .await
        .unwrap();
    let removed = g.store.retain(&Retention::default(), 100).await.unwrap();
    assert_eq!((removed.jobs, removed.idempotency), (1, 0));
    assert_eq!(g.store.any_job(old).await.unwrap(), None);
    assert!(g.store.events_after(None, old, 0).await.unwrap().is_empty());
    for id in [young, open] {
        assert!(!g.store.events_after(None, id, 0).await.unwrap().is_empty());
    }
    assert_eq!(g.store.retain(&Retention::default(), 100).await.unwrap(), Removed::default());
    let report = g.store.tenant(g.tenant).await.unwrap().unwrap();
    assert_eq!(report.credits, report.ledger_sum, "retention keeps the ledger");
}
