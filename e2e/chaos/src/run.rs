//! One run from the servers' start to the judgement.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::time::sleep;

use crate::{
    caller::Caller, checks, faults::carry_out, fleet::Fleet, ground::Ground, load::Load, mounts::ADMIN_KEY, plan,
    report::Report,
};

/// How a run is done.
#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    /// How long load and faults last.
    pub load: Duration,
    /// API processes.
    pub apis: usize,
    /// Longest time for everything to come to rest afterwards.
    pub patience: Duration,
    /// `RUST_LOG` of the processes.
    pub log_level: String,
    /// Where the processes' logs go when something is broken.
    pub logs: Option<std::path::PathBuf>,
}

/// Does a run. An error means that the harness could not do its work; broken promises are in the report.
pub async fn run(settings: &Settings) -> anyhow::Result<Report> {
    let ground = Arc::new(Ground::prepare().await?);
    let outcome = on(&ground, settings).await;
    let bad = !outcome.as_ref().is_ok_and(|report| report.broken.is_empty());
    if let (true, Some(logs)) = (bad, &settings.logs) {
        keep_logs(ground.folder.path(), logs, settings.seed)?;
    }
    // Whatever still holds the ground keeps the servers until this program ends, and then they end with it.
    if let Some(ground) = Arc::into_inner(ground) {
        ground.end();
    }
    outcome
}

async fn on(ground: &Arc<Ground>, settings: &Settings) -> anyhow::Result<Report> {
    let fleet = Arc::new(Fleet::start(ground, settings.apis, &settings.log_level).await?);
    let planned = plan::faults(settings.seed, settings.load, Fleet::size(settings.apis));
    let mut load = Load::begin(Caller::new(&fleet.urls, ADMIN_KEY)?, settings.seed).await?;
    let notes = load.notes.clone();

    let faults = carry_out(ground, &fleet, &planned, settings.seed);
    let (faults, ()) = tokio::join!(faults, sleep(settings.load));

    let began = Instant::now();
    ground.database.up().await;
    ground.broker.up().await;
    ground.cache.up().await;
    fleet.all().try_for_each(|member| member.start()).context("starting what had ended")?;
    fleet.answering().await?;
    load.quiet().await?;
    let client = ground.client().await?;
    at_rest(ground, &client, settings.patience).await?;
    let rest = began.elapsed();
    load.watched(settings.patience).await;
    let mut broken = fleet.end().await;
    // What a worker held without having acknowledged it is back in its queue by now.
    for (queue, messages) in ground.depths().await? {
        client
            .execute("insert into chaos.queues (queue, messages) values ($1, $2)", &[&queue, &i64::from(messages)])
            .await?;
    }
    notes.keep(&client).await?;
    broken.extend(checks::broken(&client).await.context("judging")?);
    let jobs = client
        .query(
            "select format('%s, %s', case origin when 'api' then 'asked for' when 'discovery' then 'discovered' else 'parts' end, state), count(*)
             from switchyard.jobs group by origin, state order by origin, state",
            &[],
        )
        .await?;
    let mut jobs: Vec<(String, i64)> = jobs.iter().map(|row| (row.get(0), row.get(1))).collect();
    let shared = "select count(distinct job_id) from chaos.transitions where follows is not null";
    jobs.push(("that shared another one's pipeline".to_owned(), client.query_one(shared, &[]).await?.get(0)));
    let changes = "select count(*) from chaos.transitions";
    jobs.push(("changes of state, each checked".to_owned(), client.query_one(changes, &[]).await?.get(0)));
    Ok(Report { seed: settings.seed, load: settings.load, rest, faults, calls: notes.counts(), jobs, broken })
}

/// Waits until each job has ended and each queue is empty; what has not by then is the checks' to name.
async fn at_rest(ground: &Ground, client: &tokio_postgres::Client, patience: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < patience {
        let open: i64 =
            client.query_one("select count(*) from switchyard.jobs where finished_at is null", &[]).await?.get(0);
        if open == 0 && ground.depths().await?.iter().all(|(_, messages)| *messages == 0) {
            return Ok(());
        }
        sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

fn keep_logs(from: &Path, to: &Path, seed: u64) -> std::io::Result<()> {
    let to = to.join(format!("seed-{seed}"));
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
