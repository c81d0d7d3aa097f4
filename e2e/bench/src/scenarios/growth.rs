//! Cost of handoffs and claims with an empty and with a large table of jobs.

use std::{rc::Rc, time::Duration};

use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    model::Queue,
    store::{Lease, Store},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{backlog, settings::Settings};
use crate::{
    fixture::Fixture,
    load::{Tally, closed},
    progress::log_progress,
    report::{Report, figure},
    systems::switchyard::{self, Api, Keys, Mounted},
    traffic::Handoffs,
};

const DATABASE: &str = "bench_growth";
/// Claims that are timed.
const CLAIMS: u32 = 100;
/// Jobs per claim.
const CLAIM_SIZE: u32 = 32;

/// Measures the scenario and adds its figures to `report`.
pub async fn measure(fixture: &Fixture, keys: &Keys, settings: Settings, report: &mut Report) -> anyhow::Result<()> {
    if settings.finished_jobs == 0 {
        return Ok(());
    }
    fixture.recreate_database(DATABASE, switchyard::TEMPLATE).await?;
    log_progress("growth: an empty table");
    let empty = cost(fixture, keys, settings, report).await?;
    fixture.recreate_database(DATABASE, switchyard::TEMPLATE).await?;
    log_progress(&format!("growth: inserting {} finished jobs", figure(settings.finished_jobs as f64)));
    let began = Instant::now();
    fill(fixture, settings.finished_jobs).await?;
    log_progress(&format!("  inserted in {} s", began.elapsed().as_secs()));
    let full = cost(fixture, keys, settings, report).await?;
    fixture.drop_database(DATABASE).await?;
    let jobs = figure(settings.finished_jobs as f64);
    report.figure(
        format!("handoffs, 32 connections, with 0 and with {jobs} finished jobs in the table"),
        format!("{}/s, {}/s", figure(empty.handoffs), figure(full.handoffs)),
    );
    report.figure(
        format!("p99 of those handoffs, with 0 and with {jobs} finished jobs"),
        format!("{} ms, {} ms", figure(empty.p99), figure(full.p99)),
    );
    report.figure(
        format!("claim of {CLAIM_SIZE} jobs, p50 and p99, with 0 and with {jobs} finished jobs"),
        format!("{}, {}", empty.claims, full.claims),
    );
    Ok(())
}

struct Cost {
    handoffs: f64,
    p99: f64,
    claims: String,
}

async fn cost(fixture: &Fixture, keys: &Keys, settings: Settings, report: &mut Report) -> anyhow::Result<Cost> {
    let mounted = Mounted::new(fixture, DATABASE)?;
    let api = Api::start(fixture, &mounted).await?;
    let handoffs = closed(settings.plan(api.address, 32), Rc::new(Handoffs::fresh(keys))).await?;
    report.record_errors("Switchyard", "handoffs while the table grows", &handoffs);
    api.process.stop().await?;
    let store = switchyard::store(fixture, DATABASE)?;
    backlog::fill(&store, keys, CLAIMS * CLAIM_SIZE).await?;
    let claims = claim(&store).await?;
    Ok(Cost {
        handoffs: handoffs.per_second(),
        p99: handoffs.quantile_ms(0.99),
        claims: format!("{} / {} ms", figure(claims.quantile_ms(0.5)), figure(claims.quantile_ms(0.99))),
    })
}

async fn claim(store: &Store) -> anyhow::Result<Tally> {
    let queue = Queue { kind: Kind::General, lane: Lane::Critical };
    let mut tally = Tally::new();
    for _ in 0..CLAIMS {
        let lease = Lease { worker: "bench", duration: Duration::from_mins(10), call: Uuid::new_v4(), again: false };
        let began = Instant::now();
        let claimed = store.claim(queue, CLAIM_SIZE, &lease).await?;
        tally.record_response(200, began.elapsed());
        anyhow::ensure!(claimed.len() == CLAIM_SIZE as usize, "{} jobs were claimed", claimed.len());
    }
    Ok(tally)
}

/// Inserts finished jobs. Dropping the indexes first and rebuilding them afterwards gives the same
/// trees and saves minutes.
async fn fill(fixture: &Fixture, finished_jobs: u64) -> anyhow::Result<()> {
    let client = fixture.client(DATABASE).await?;
    let indexes = client
        .query(
            "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index i
             where indrelid = 'switchyard.jobs'::regclass and not exists (select from pg_constraint c where c.conindid = i.indexrelid)",
            &[],
        )
        .await?;
    for index in &indexes {
        client.batch_execute(&format!("drop index {}", index.get::<_, &str>(0))).await?;
    }
    client
        .batch_execute(&include_str!("../../sql/fill.sql").replace(":finished_jobs", &finished_jobs.to_string()))
        .await?;
    for index in &indexes {
        client.batch_execute(index.get(1)).await?;
    }
    // One call each: `vacuum` cannot run in the implicit transaction of a multi-statement query.
    client.batch_execute("vacuum (analyze) switchyard.jobs").await?;
    client.batch_execute("checkpoint").await?;
    Ok(())
}
