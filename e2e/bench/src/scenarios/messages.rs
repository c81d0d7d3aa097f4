//! Messages through a quorum queue: Switchyard's broker path against RabbitMQ's load tool.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use futures::future::join_all;
use secrecy::SecretString;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{broker::Broker, model::Queue};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::settings::Settings;
use crate::{
    fixture::Fixture,
    process::{Process, run as run_program},
    progress::log_progress,
    report::{Better, Comparison, Report, figure},
    systems::perf_test::{self, UNCONFIRMED, WARM_UP},
};

/// Environment variable with the broker's address for the child process.
const BROKER: &str = "BENCH_BROKER";
const QUEUE: Queue = Queue { kind: Kind::General, lane: Lane::Critical };

/// Arguments of `switchyard-bench messages`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Options {
    /// Seconds to count, after a warm-up.
    #[arg(long)]
    seconds: u64,
    /// Messages that wait for their publisher confirm at the same time.
    #[arg(long)]
    unconfirmed: usize,
}

/// Measures the scenario and adds its comparison to `report`.
pub async fn measure(fixture: &Fixture, settings: Settings, report: &mut Report) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        log_progress(&format!("messages, round {round} of {}", settings.rounds));
        let rate = measure_switchyard(fixture, settings.duration).await?;
        log_progress(&format!("  Switchyard: {}/s", figure(rate)));
        ours.push(rate);
        let rate = perf_test::messages(fixture, settings.duration).await?;
        log_progress(&format!("  perf-test: {}/s", figure(rate)));
        theirs.push(rate);
    }
    report.comparisons.push(Comparison {
        against: "RabbitMQ's perf-test, quorum queue",
        work: format!("messages published, confirmed and acknowledged, {UNCONFIRMED} unconfirmed, one producer and one consumer"),
        unit: "/s",
        ours,
        theirs,
        better: Better::More,
        at_least: 0.5,
        aim: 0.8,
        if_behind: "Switchyard's messages are mandatory, and each waits for its own confirm. One message carries up to 32 jobs, so the broker does not limit throughput.",
    });
    Ok(())
}

async fn measure_switchyard(fixture: &Fixture, duration: Duration) -> anyhow::Result<f64> {
    let mut command = Process::command(std::env::current_exe()?);
    command.args(["messages", "--seconds", &duration.as_secs().max(1).to_string()]);
    command.args(["--unconfirmed", &UNCONFIRMED.to_string()]).env(BROKER, fixture.rabbit.vhost());
    let output = run_program("switchyard-bench messages", command).await?;
    output.trim().parse().with_context(|| format!("no rate in the output: {output}"))
}

/// Publishes, consumes and acknowledges tickets as the API and a worker do, over one connection
/// each. Prints the rate per second.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let uri = SecretString::from(std::env::var(BROKER).with_context(|| format!("{BROKER} is not set"))?);
    let (publisher, receiver) = (Broker::connect(&uri, "bench-publisher")?, Broker::connect(&uri, "bench-consumer")?);
    publisher.connected().await;
    receiver.connected().await;
    let mut tickets = receiver.consumer(QUEUE).await?;
    tickets.resume(u32::MAX).await?;

    let received = Arc::new(AtomicU64::new(0));
    let counted = Instant::now() + WARM_UP;
    let end = counted + Duration::from_secs(options.seconds);
    let consuming = tokio::spawn({
        let received = received.clone();
        async move {
            while let Ok(message) = timeout_at(end, tickets.next()).await {
                let mut message = message?;
                tickets.extend(&mut message, u32::MAX);
                let count = message.tickets;
                message.acknowledge().await?;
                if Instant::now() >= counted {
                    received.fetch_add(u64::from(count), Ordering::Relaxed);
                }
            }
            anyhow::Ok(())
        }
    });
    let publishing = (0..options.unconfirmed).map(|_| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            while Instant::now() < end {
                // One call with one queue publishes one message.
                let published = publisher.publish(&[QUEUE]).await;
                if let Some(error) = published.error {
                    anyhow::bail!("could not publish: {error}");
                }
            }
            Ok(())
        })
    });
    for published in join_all(publishing).await {
        published??;
    }
    sleep_until(end).await;
    consuming.await??;
    println!("{:.1}", received.load(Ordering::Relaxed) as f64 / options.seconds as f64);
    Ok(())
}
