//! Concurrent random operations on a few jobs. In every order the ledger balances and no call
//! blocks for ever.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;
use switchyard_contract::{Kind, Lane, Tier};
use switchyard_jobs::{
    handler::{Child, Step},
    model::{JobError, JobId, Queue},
    store::{Admission, Claim, ProgressReport, StoreError},
};
use tokio::time::timeout;

use crate::fixture::{Fixture, fixture, lease, request, transient_error};

/// Runs `steps` random operations as one client.
async fn run_random_operations(g: Arc<Fixture>, seed: u64, steps: u32) -> Result<(), StoreError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut held: Vec<Claim> = Vec::new();
    let (store, client) = (&g.store, g.database.client().await);
    for step in 0..steps {
        let jobs = open_jobs(&client).await;
        match rng.random_range(0..12) {
            0 | 1 => match store.submit(request(g.key, &format!("user{}", step % 8))).await? {
                Admission::Accepted { .. }
                | Admission::ConcurrentLimit { .. }
                | Admission::InsufficientCredits { .. } => {}
                other => panic!("seed {seed}: {other:?}"),
            },
            2..=5 => {
                let queue = Queue {
                    kind: *[Kind::General, Kind::General, Kind::Ai].choose(&mut rng).unwrap(),
                    lane: *[Lane::Critical, Lane::Low].choose(&mut rng).unwrap(),
                };
                held.extend(store.claim(queue, rng.random_range(1..4), &lease()).await?);
            }
            6 => {
                if let Some(job) = jobs.choose(&mut rng) {
                    store.cancel(g.tenant, *job).await?;
                }
            }
            7 => {
                let beat: Vec<_> = held.iter().map(Claim::run_key).collect();
                store.heartbeat(&beat, Duration::from_secs(30)).await?;
                let reports = beat.iter().map(|run_key| ProgressReport {
                    run_key: *run_key,
                    percent: 50,
                    stage: format!("{step}"),
                });
                store.progress(&reports.collect::<Vec<_>>()).await?;
            }
            8 => {
                for dead in store.dead(3).await? {
                    store.replay(dead.job.id).await?;
                }
            }
            _ => {
                if held.is_empty() {
                    continue;
                }
                let claim = held.swap_remove(rng.random_range(0..held.len()));
                finish(&g, &claim, &mut rng).await?;
            }
        }
    }
    Ok(())
}

async fn finish(g: &Fixture, claim: &Claim, rng: &mut StdRng) -> Result<(), StoreError> {
    let (store, run_key) = (&g.store, claim.run_key());
    match rng.random_range(0..6) {
        0 => drop(store.fail(run_key, &transient_error()).await?),
        1 => drop(store.fail(run_key, &JobError::permanent("no", "no")).await?),
        2 => drop(store.release(run_key).await?),
        3 if matches!(claim.job.step, Step::Start) => {
            let children: Vec<Child> = (0..rng.random_range(0..4))
                .map(|_| Child { kind: Kind::Ai, input: json!({}), required: rng.random() })
                .collect();
            store.spawn(run_key, &json!({}), &children, "analysing").await?;
        }
        3 if claim.job.id == claim.job.root => drop(store.complete_analysis(run_key, &json!({})).await?),
        4 if claim.job.id == claim.job.root => {
            store.complete_for_now(run_key, &json!({}), &json!({}), Duration::ZERO).await?;
        }
        _ => drop(store.complete_and_discover(run_key, &json!({}), &["found".to_owned()]).await?),
    }
    Ok(())
}

async fn open_jobs(client: &tokio_postgres::Client) -> Vec<JobId> {
    let rows = client.query("select id from switchyard.jobs where finished_at is null", &[]).await.unwrap();
    rows.iter().map(|row| JobId(row.get(0))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_interleavings_keep_the_ledger_balanced() {
    for seed in [1, 2, 3] {
        let g = Arc::new(fixture(Tier::Enterprise, 60).await);
        let clients: Vec<_> =
            (0..4).map(|client| tokio::spawn(run_random_operations(g.clone(), seed * 10 + client, 40))).collect();
        for client in clients {
            // A deadlock is an error of the store. The timeout detects an endless wait.
            timeout(Duration::from_mins(2), client).await.expect("a client is blocked").unwrap().unwrap();
        }
        g.assert_consistent().await;
        let client = g.database.client().await;
        let twice = client
            .query_one(
                "select count(*) from switchyard.jobs j where j.parent_id is null and j.price > 0 and (
                    (select sum(amount) from switchyard.ledger l where l.job_id = j.id) <>
                    case when j.state = 'dead' or (j.state = 'cancelled' and (j.started_at is null or j.leader_id is not null)) then 0 else -j.price end)",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(twice.get::<_, i64>(0), 0, "seed {seed}: each analysis has one charge and at most one refund");
        let gaps = client
            .query_one(
                // The first event is derived from the job and has no row.
                "select count(*) from (select job_id from switchyard.events group by job_id having max(seq) <> count(*) + 1) gaps",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(gaps.get::<_, i64>(0), 0, "seed {seed}: events are numbered without gaps");
    }
}
