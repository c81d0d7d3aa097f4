//! How handoffs and claims grow with the table of jobs.

use std::{rc::Rc, time::Duration};

use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    model::Queue,
    store::{Lease, Store},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Scale, backlog, note, say};
use crate::{
    ground::Ground,
    load::{Tally, closed},
    report::{Report, figure},
    sides::switchyard::{self, Api, Keys, Mounted},
    traffic::Handoffs,
};

const DATABASE: &str = "bench_growth";
/// Claims that are timed, of so many jobs each.
const CLAIMS: u32 = 100;
const AT_ONCE: u32 = 32;

pub async fn measure(ground: &Ground, keys: &Keys, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    if scale.rows == 0 {
        return Ok(());
    }
    ground.fresh(DATABASE, switchyard::TEMPLATE).await?;
    say("growth: an empty table");
    let empty = cost(ground, keys, scale, report).await?;
    ground.fresh(DATABASE, switchyard::TEMPLATE).await?;
    say(&format!("growth: filling in {} finished jobs", figure(scale.rows as f64)));
    let began = Instant::now();
    fill(ground, scale.rows).await?;
    say(&format!("  filled in {} s", began.elapsed().as_secs()));
    let full = cost(ground, keys, scale, report).await?;
    ground.remove(DATABASE).await?;
    let rows = figure(scale.rows as f64);
    report.figure(
        format!("handoffs, 32 connections, with 0 and with {rows} finished jobs in the table"),
        format!("{}/s, {}/s", figure(empty.handoffs), figure(full.handoffs)),
    );
    report.figure(
        format!("p99 of those handoffs, with 0 and with {rows} finished jobs"),
        format!("{} ms, {} ms", figure(empty.p99), figure(full.p99)),
    );
    report.figure(
        format!("claim of {AT_ONCE} jobs, p50 and p99, with 0 and with {rows} finished jobs"),
        format!("{}, {}", empty.claims, full.claims),
    );
    Ok(())
}

struct Cost {
    handoffs: f64,
    p99: f64,
    claims: String,
}

async fn cost(ground: &Ground, keys: &Keys, scale: Scale, report: &mut Report) -> anyhow::Result<Cost> {
    let mounted = Mounted::new(ground, DATABASE)?;
    let api = Api::start(ground, &mounted).await?;
    let handoffs = closed(scale.plan(api.address, 32), Rc::new(Handoffs::fresh(keys))).await?;
    note(report, "Switchyard", "handoffs while the table grows", &handoffs);
    api.process.stop().await?;
    let store = switchyard::store(ground, DATABASE)?;
    backlog::fill(&store, keys, CLAIMS * AT_ONCE).await?;
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
        let lease = Lease { worker: "bench", duration: Duration::from_secs(600), call: Uuid::new_v4(), again: false };
        let began = Instant::now();
        let claimed = store.claim(queue, AT_ONCE, &lease).await?;
        tally.answered(200, began.elapsed());
        anyhow::ensure!(claimed.len() == AT_ONCE as usize, "{} jobs were claimed", claimed.len());
    }
    Ok(tally)
}

/// Fills in finished jobs. Indexes are dropped and made again around it: the same tree, and minutes saved.
async fn fill(ground: &Ground, rows: u64) -> anyhow::Result<()> {
    let client = ground.client(DATABASE).await?;
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
    client.batch_execute(&include_str!("../../sql/fill.sql").replace(":rows", &rows.to_string())).await?;
    for index in &indexes {
        client.batch_execute(index.get(1)).await?;
    }
    // Each on its own: neither runs inside a transaction, which several statements together are.
    client.batch_execute("vacuum (analyze) switchyard.jobs").await?;
    client.batch_execute("checkpoint").await?;
    Ok(())
}
