//! `switchyard-bench`: compares Switchyard with common alternatives on one machine, in one run.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of the command line")]

mod fixture;
mod load;
mod machine;
mod process;
mod progress;
mod report;
mod scenarios;
mod systems;
mod traffic;
mod worker;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use fixture::{Fixture, Peers};
use progress::log_progress;
use report::Report;
use scenarios::settings::Settings;

/// Compares Switchyard with common alternatives.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure all scenarios and write the report.
    Run(Run),
    /// Run a worker whose jobs do nothing; used by some scenarios.
    Worker(worker::Options),
    /// Publish, consume and acknowledge messages; used by the `messages` scenario.
    Messages(scenarios::messages::Options),
    /// Analyse posts; used by the `posts` scenario.
    Posts(scenarios::posts::Options),
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    peers: Peers,
    /// Seconds per measurement.
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 6)]
    seconds: u64,
    /// Rounds, each of which measures every system once; 1 to 7.
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    rounds: u8,
    /// Finished jobs in the large table of the `growth` scenario; 0 skips it.
    #[arg(long, env = "BENCH_FINISHED_JOBS", default_value_t = 10_000_000)]
    finished_jobs: u64,
    /// Scenarios to measure, comma separated; all by default.
    #[arg(long, env = "BENCH_SCENARIOS", value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// File to write the report to.
    #[arg(long)]
    out: PathBuf,
    /// Revision under test, for the report.
    #[arg(long, default_value = "unknown")]
    revision: String,
}

/// A part of the run with its own measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    Handoff,
    Backlog,
    Messages,
    Alone,
    Watching,
    Growth,
    Posts,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let threads = |multi: bool| {
        let mut builder = if multi {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        builder.enable_all().build()
    };
    match Arguments::parse().command {
        // On one thread, so that the load generator takes little CPU time from the system under
        // test. The death signal of the programs that it starts also depends on this thread.
        Command::Run(options) => threads(false)?.block_on(measure(options)),
        Command::Worker(options) => {
            switchyard_jobs::service::telemetry::init();
            threads(true)?.block_on(worker::run(&options))
        }
        Command::Messages(options) => threads(true)?.block_on(scenarios::messages::run(&options)),
        Command::Posts(options) => threads(true)?.block_on(scenarios::posts::run(&options)),
    }
}

async fn measure(options: Run) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let load_before = machine::load();
    log_progress("starting PostgreSQL, RabbitMQ and Redis");
    let fixture = Fixture::start(options.peers.clone()).await?;
    let machine = machine::describe(&fixture).await?;
    eprintln!("{machine}- Load average: {load_before}");
    let settings = Settings {
        duration: Duration::from_secs(options.seconds.max(1)),
        rounds: usize::from(options.rounds),
        finished_jobs: options.finished_jobs,
    };
    let mut report = Report::default();
    let failed = measure_scenarios(&fixture, &options.scenarios, settings, &mut report).await;
    fixture.stop();
    let failed = failed?;

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
    println!("wrote {}", options.out.display());
    anyhow::ensure!(failed == 0, "{failed} scenarios failed; the remarks give the errors");
    Ok(())
}

/// The command line that repeats this run.
fn command(options: &Run) -> String {
    let names = options.scenarios.iter().filter_map(clap::ValueEnum::to_possible_value);
    let names = names.map(|scenario| scenario.get_name().to_owned()).collect::<Vec<_>>().join(",");
    let scenarios = if names.is_empty() { names } else { format!("BENCH_SCENARIOS={names} ") };
    format!(
        "{scenarios}BENCH_SECONDS={} BENCH_ROUNDS={} BENCH_FINISHED_JOBS={} make bench",
        options.seconds, options.rounds, options.finished_jobs
    )
}

/// Measures one scenario after the other and returns how many failed. A failure does not stop the
/// run.
async fn measure_scenarios(
    fixture: &Fixture,
    selected: &[Scenario],
    settings: Settings,
    report: &mut Report,
) -> anyhow::Result<usize> {
    log_progress("creating the databases");
    let keys = systems::switchyard::prepare(fixture).await?;
    systems::fastapi::prepare(fixture).await?;
    let all = <Scenario as clap::ValueEnum>::value_variants();
    let mut failed = 0;
    for scenario in all.iter().filter(|scenario| selected.is_empty() || selected.contains(scenario)) {
        let measured = match scenario {
            Scenario::Handoff => scenarios::handoff::measure(fixture, &keys, settings, report).await,
            Scenario::Backlog => scenarios::backlog::measure(fixture, &keys, settings, report).await,
            Scenario::Messages => scenarios::messages::measure(fixture, settings, report).await,
            Scenario::Alone => scenarios::alone::measure(fixture, &keys, settings, report).await,
            Scenario::Watching => scenarios::watching::measure(fixture, &keys, settings, report).await,
            Scenario::Growth => scenarios::growth::measure(fixture, &keys, settings, report).await,
            Scenario::Posts => scenarios::posts::measure(fixture, &keys, settings, report).await,
        };
        if let Err(error) = measured {
            log_progress(&format!("could not measure {scenario:?}: {error:#}"));
            report.remark(format!("could not measure {scenario:?}: {error:#}"));
            failed += 1;
        }
    }
    Ok(failed)
}
