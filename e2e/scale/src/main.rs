//! `switchyard-scale`: many platforms and pools on a real API server, with pods simulated by KWOK.
//!
//! Measures the time until all pools are Ready, the time from a change of a spec to its Deployment,
//! the writes of an idle operator, and its memory. `e2e/scale/run` sets up what it needs.

#![expect(clippy::print_stdout, reason = "a program of the command line")]

mod observer;
mod operator;
mod platforms;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;
use kube::Client;

use self::{observer::Observer, operator::Operator, platforms::Platforms};

#[derive(Debug, Parser)]
struct Options {
    /// Number of pools, including the four default pools of each platform.
    #[arg(long, default_value_t = 1000)]
    pools: usize,
    /// Number of platforms, each in its own namespace.
    #[arg(long, default_value_t = 50)]
    platforms: usize,
    /// Number of timed changes of a pool's spec.
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Idle seconds in which the operator must not write.
    #[arg(long, default_value_t = 600)]
    idle_seconds: u64,
    /// Process id of the operator.
    #[arg(long)]
    operator_pid: u32,
    /// URL of the operator's metrics.
    #[arg(long)]
    operator_metrics: String,
    /// File to append the table row to.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Timeout for all pools to become Ready, in seconds.
    #[arg(long, default_value_t = 600)]
    ready_timeout_seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let client = Client::try_default().await?;
    let operator = Operator { pid: options.operator_pid, metrics: options.operator_metrics.clone() };
    let platforms = Platforms::new(options.platforms, options.pools)?;
    let observer = Observer::start(&client);

    let before = operator.calls().await?;
    let all_ready =
        platforms.create_and_wait_ready(&client, &observer, Duration::from_secs(options.ready_timeout_seconds)).await?;
    let calls = operator.calls().await? - before;
    let settled = operator.memory()?;
    println!(
        "{} pools over {} platforms Ready after {:.1} s",
        platforms.pools(),
        platforms.count(),
        all_ready.as_secs_f64()
    );

    observer.wait_quiet(Duration::from_secs(15), Duration::from_mins(3)).await?;
    let mut times = platforms.time_changes(&client, &observer, options.changes).await?;
    times.sort();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the list")]
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;

    observer.wait_quiet(Duration::from_secs(15), Duration::from_mins(3)).await?;
    let (writes, idle_calls) = (observer.writes(), operator.calls().await?);
    tokio::time::sleep(Duration::from_secs(options.idle_seconds)).await;
    let idle_writes = observer.writes() - writes;
    let idle_calls = operator.calls().await? - idle_calls;

    let row = format!(
        "| {} | {} | {:.1} s | {:.1} s | {:.0} / {:.0} ms | {:.1} | {} in {} s | {:.1} /s | {:.0} / {:.0} MiB |\n",
        platforms.pools(),
        platforms.count(),
        all_ready.as_secs_f64(),
        operator.cpu_seconds()?,
        quantile(0.5),
        quantile(0.99),
        calls.total() as f64 / platforms.pools() as f64,
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
    anyhow::ensure!(idle_writes == 0, "{idle_writes} writes of objects while idle, last {:?}", observer.last_written());
    anyhow::ensure!(idle_calls.writes == 0, "{} write calls while idle", idle_calls.writes);
    Ok(())
}
