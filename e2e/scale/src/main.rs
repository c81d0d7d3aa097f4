//! `switchyard-scale`: many platforms and pools on a real API server, with pods that only seem to run. Measures the way to Ready, from a change of a
//! spec to the applied change, what an idle operator writes, and what it holds in memory. `e2e/scale/run` brings up what it needs.

mod fleet;
mod observer;
mod operator;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;
use kube::Client;

use self::{fleet::Fleet, observer::Observer, operator::Operator};

#[derive(Debug, Parser)]
struct Options {
    /// Pools in all, the four that each platform brings among them.
    #[arg(long, default_value_t = 1000)]
    pools: usize,
    /// Platforms, each in a namespace of its own.
    #[arg(long, default_value_t = 50)]
    platforms: usize,
    /// Changes of a pool's spec that are timed.
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Seconds without a change in which nothing may be written.
    #[arg(long, default_value_t = 600)]
    idle_seconds: u64,
    /// The operator's process.
    #[arg(long)]
    operator_pid: u32,
    /// The operator's metrics.
    #[arg(long)]
    operator_metrics: String,
    /// File that a row is added to.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seconds within which everything has to be Ready.
    #[arg(long, default_value_t = 600)]
    patience_seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let client = Client::try_default().await?;
    let operator = Operator { pid: options.operator_pid, metrics: options.operator_metrics.clone() };
    let fleet = Fleet::of(options.platforms, options.pools)?;
    let observer = Observer::start(&client).await?;

    let before = operator.calls().await?;
    let all_ready = fleet.made_and_ready(&client, &observer, Duration::from_secs(options.patience_seconds)).await?;
    let calls = operator.calls().await? - before;
    let settled = operator.memory()?;
    println!(
        "{} pools over {} platforms Ready after {:.1} s",
        fleet.pools(),
        fleet.platforms(),
        all_ready.as_secs_f64()
    );

    observer.quiet(Duration::from_secs(15), Duration::from_secs(180)).await?;
    let mut times = fleet.changed(&client, &observer, options.changes).await?;
    times.sort();
    let part = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;

    observer.quiet(Duration::from_secs(15), Duration::from_secs(180)).await?;
    let (writes, idle_calls) = (observer.writes(), operator.calls().await?);
    tokio::time::sleep(Duration::from_secs(options.idle_seconds)).await;
    let idle_writes = observer.writes() - writes;
    let idle_calls = operator.calls().await? - idle_calls;

    let row = format!(
        "| {} | {} | {:.1} s | {:.1} s | {:.0} / {:.0} ms | {:.1} | {} in {} s | {:.1} /s | {:.0} / {:.0} MiB |\n",
        fleet.pools(),
        fleet.platforms(),
        all_ready.as_secs_f64(),
        operator.processor()?,
        part(0.5),
        part(0.99),
        calls.total() as f64 / fleet.pools() as f64,
        idle_writes,
        options.idle_seconds,
        idle_calls.total() as f64 / options.idle_seconds as f64,
        settled.resident,
        operator.memory()?.peak,
    );
    print!("{row}");
    if let Some(out) = options.out {
        use std::io::Write as _;
        std::fs::OpenOptions::new().create(true).append(true).open(out)?.write_all(row.as_bytes())?;
    }
    anyhow::ensure!(
        idle_writes == 0,
        "{idle_writes} objects were written while nothing changed: {:?}",
        observer.last_written()
    );
    anyhow::ensure!(idle_calls.writes == 0, "{} calls that write while nothing changed", idle_calls.writes);
    Ok(())
}
