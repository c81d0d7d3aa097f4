//! `switchyard-bench`: measures Switchyard beside what people use today, on one machine, in one run.

mod ground;
mod load;
mod machine;
mod process;
mod report;
mod rows;
mod sides;
mod traffic;
mod worker;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use ground::{Ground, Peers};
use report::Report;
use rows::{Scale, say};

/// Measures Switchyard beside what people use today.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure everything and write it down.
    Run(Run),
    /// Work on jobs that are nothing; the other process of some measurements.
    Worker(worker::Options),
    /// Publish, take and acknowledge messages; the other process of some measurements.
    Messages(rows::messages::Options),
    /// Analyse posts; the other process of some measurements.
    Posts(rows::posts::Options),
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    peers: Peers,
    /// Seconds of one measurement.
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 6)]
    seconds: u64,
    /// Times that each side is measured, in turns; up to 7.
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    rounds: u8,
    /// Finished jobs in the large table; 0 leaves that out.
    #[arg(long, env = "BENCH_ROWS", default_value_t = 10_000_000)]
    rows: u64,
    /// The rows to measure, comma separated; all when left out.
    #[arg(long, env = "BENCH_ONLY", value_delimiter = ',')]
    only: Vec<Row>,
    /// Where to write the report.
    #[arg(long)]
    out: PathBuf,
    /// What is being measured, for the report.
    #[arg(long, default_value = "unknown")]
    revision: String,
}

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Row {
    Handoff,
    Backlog,
    Messages,
    Alone,
    Watching,
    Growth,
    Posts,
}

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> anyhow::Result<()> {
    let threads = |multi: bool| {
        let mut builder = if multi {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        builder.enable_all().build()
    };
    match Arguments::parse().command {
        // On one thread, which takes as little as can be from what is measured, and to which the programs that it starts are tied.
        Command::Run(options) => threads(false)?.block_on(measure(options)),
        Command::Worker(options) => {
            switchyard_jobs::service::telemetry::init();
            threads(true)?.block_on(worker::run(&options))
        }
        Command::Messages(options) => threads(true)?.block_on(rows::messages::run(&options)),
        Command::Posts(options) => threads(true)?.block_on(rows::posts::run(&options)),
    }
}

async fn measure(options: Run) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let load_before = machine::load();
    say("starting PostgreSQL, RabbitMQ and Redis");
    let ground = Ground::begin(options.peers.clone()).await?;
    let machine = machine::describe(&ground).await?;
    eprintln!("{machine}- Load average: {load_before}");
    let scale = Scale {
        duration: Duration::from_secs(options.seconds.max(1)),
        rounds: usize::from(options.rounds),
        rows: options.rows,
    };
    let mut report = Report::default();
    let missing = rows(&ground, &options.only, scale, &mut report).await;
    ground.end();
    let missing = missing?;

    let text = format!(
        "{}\n{machine}- Load average before: {load_before}; after: {}. The run took {} min.\n- Measured: {}, on {}, with `{}`.\n\n{}",
        include_str!("../preface.md"),
        machine::load(),
        began.elapsed().as_secs().div_ceil(60),
        options.revision,
        chrono::Utc::now().format("%Y-%m-%d"),
        command(&options),
        report.markdown()
    );
    std::fs::write(&options.out, &text)?;
    println!("{}", report.markdown());
    println!("written to {}", options.out.display());
    anyhow::ensure!(missing == 0, "{missing} rows could not be measured; the remarks say why");
    Ok(())
}

/// The command that repeats this run.
fn command(options: &Run) -> String {
    let only = options.only.iter().filter_map(clap::ValueEnum::to_possible_value).map(|row| row.get_name().to_owned());
    let only = only.collect::<Vec<_>>().join(",");
    let only = if only.is_empty() { only } else { format!("BENCH_ONLY={only} ") };
    format!(
        "{only}BENCH_SECONDS={} BENCH_ROUNDS={} BENCH_ROWS={} make bench",
        options.seconds, options.rounds, options.rows
    )
}

/// Measures row by row; one that fails does not keep the others from being measured. Answers how many failed.
async fn rows(ground: &Ground, only: &[Row], scale: Scale, report: &mut Report) -> anyhow::Result<usize> {
    say("making the databases");
    let keys = sides::switchyard::prepare(ground).await?;
    sides::fastapi::prepare(ground).await?;
    let all = <Row as clap::ValueEnum>::value_variants();
    let mut missing = 0;
    for row in all.iter().filter(|row| only.is_empty() || only.contains(row)) {
        let measured = match row {
            Row::Handoff => rows::handoff::measure(ground, &keys, scale, report).await,
            Row::Backlog => rows::backlog::measure(ground, &keys, scale, report).await,
            Row::Messages => rows::messages::measure(ground, scale, report).await,
            Row::Alone => rows::alone::measure(ground, &keys, scale, report).await,
            Row::Watching => rows::watching::measure(ground, &keys, scale, report).await,
            Row::Growth => rows::growth::measure(ground, &keys, scale, report).await,
            Row::Posts => rows::posts::measure(ground, &keys, scale, report).await,
        };
        if let Err(error) = measured {
            say(&format!("{row:?} could not be measured: {error:#}"));
            report.remark(format!("{row:?} could not be measured: {error:#}"));
            missing += 1;
        }
    }
    Ok(missing)
}
