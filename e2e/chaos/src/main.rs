//! `switchyard-chaos`: injects faults under load and checks the invariants.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of the command line")]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use switchyard_chaos::{
    run::{self, Settings},
    worker,
};
use switchyard_contract::Mount;
use switchyard_jobs::service::telemetry;

/// Checks that faults lose no accepted job, corrupt no credits and write no result twice.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One run per seed, each on its own servers; the exit status is 1 if an invariant is violated.
    Run(Run),
    /// The worker process of a run; the mounted configuration selects its pool.
    Worker,
}

#[derive(Debug, Args)]
struct Run {
    /// Seconds of load and faults in each run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// First seed; by default derived from the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of runs; each uses the next seed.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Number of API processes.
    #[arg(long, default_value_t = 3)]
    apis: usize,
    /// Seconds for all jobs to end after the load.
    #[arg(long, default_value_t = 60)]
    settle_timeout: u64,
    /// Folder for the processes' logs of failed runs.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// `RUST_LOG` of the processes.
    #[arg(long, default_value = "warn,lapin=error")]
    log_level: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Worker => {
            telemetry::init();
            exit_code(worker::run(&Mount::from_env()).await.map(|()| true))
        }
        Command::Run(options) => exit_code(all(&options).await),
    }
}

/// Performs the runs; returns whether no invariant was violated.
async fn all(options: &Run) -> anyhow::Result<bool> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let first = options.seed.unwrap_or(now.as_secs() % 1_000_000);
    let mut good = true;
    for seed in first..first + options.runs {
        let settings = Settings {
            seed,
            load: Duration::from_secs(options.seconds),
            apis: options.apis.max(1),
            settle_timeout: Duration::from_secs(options.settle_timeout),
            log_level: options.log_level.clone(),
            logs: options.logs.clone(),
        };
        println!("starting run with seed {seed}");
        let report = tokio::select! {
            report = run::run(&settings) => report?,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        };
        println!("{report}");
        good &= report.violations.is_empty();
    }
    Ok(good)
}

fn exit_code(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
