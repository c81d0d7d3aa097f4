//! `switchyard-chaos`: kills, cuts, stops and duplicates under load, and judges what is left.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use switchyard_chaos::{
    round::{self, Settings},
    worker,
};
use switchyard_contract::Mount;
use switchyard_jobs::service::telemetry;

/// Proves that no accepted job is lost, no credit wrong and no result written twice, whatever is killed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One run for each seed, on servers of its own; the exit status is 1 when a promise is broken.
    Run(Run),
    /// The worker process of a run; what it works on comes from the mounted configuration.
    Worker,
}

#[derive(Debug, Args)]
struct Run {
    /// Seconds of load and faults in each run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed; by default one that depends on the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs, each with the next seed.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// API processes.
    #[arg(long, default_value_t = 3)]
    apis: usize,
    /// Seconds that everything may take to come to rest afterwards.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// A folder for the processes' logs of runs that fail.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// RUST_LOG of the processes.
    #[arg(long, default_value = "warn,lapin=error")]
    log_level: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Worker => {
            telemetry::init();
            told(worker::run(&Mount::from_env()).await.map(|()| true))
        }
        Command::Run(run) => told(all(&run).await),
    }
}

/// Does the runs; whether every promise held in each.
async fn all(run: &Run) -> anyhow::Result<bool> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let first = run.seed.unwrap_or(now.as_secs() % 1_000_000);
    let mut good = true;
    for seed in first..first + run.runs {
        let settings = Settings {
            seed,
            load: Duration::from_secs(run.seconds),
            apis: run.apis.max(1),
            patience: Duration::from_secs(run.patience),
            log_level: run.log_level.clone(),
            logs: run.logs.clone(),
        };
        println!("seed {seed} begins");
        let report = tokio::select! {
            report = round::run(&settings) => report?,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        };
        println!("{report}");
        good &= report.broken.is_empty();
    }
    Ok(good)
}

fn told(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
