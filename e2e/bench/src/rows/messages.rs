//! Messages through a quorum queue: our broker path against RabbitMQ's own load tool.

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

use super::{Scale, say};
use crate::{
    ground::Ground,
    process::{Process, run as run_program},
    report::{Better, Comparison, Report, figure},
    sides::perf_test::{self, UNCONFIRMED, WARM_UP},
};

/// Where the other process finds the broker.
const BROKER: &str = "BENCH_BROKER";
const QUEUE: Queue = Queue { kind: Kind::General, lane: Lane::Critical };

/// How many messages, how long.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Options {
    /// Seconds to count for, after a warm-up.
    #[arg(long)]
    seconds: u64,
    /// Messages whose confirmation is waited for at once.
    #[arg(long)]
    unconfirmed: usize,
}

pub async fn measure(ground: &Ground, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=scale.rounds {
        say(&format!("messages, round {round} of {}", scale.rounds));
        let rate = of_ours(ground, scale.duration).await?;
        say(&format!("  Switchyard: {}/s", figure(rate)));
        ours.push(rate);
        let rate = perf_test::messages(ground, scale.duration).await?;
        say(&format!("  perf-test: {}/s", figure(rate)));
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
        if_behind: "Ours are mandatory, and each waits for its own confirmation. One stands for up to 32 jobs, so the broker is not what limits them.",
    });
    Ok(())
}

async fn of_ours(ground: &Ground, duration: Duration) -> anyhow::Result<f64> {
    let mut command = Process::command(std::env::current_exe()?);
    command.args(["messages", "--seconds", &duration.as_secs().max(1).to_string()]);
    command.args(["--unconfirmed", &UNCONFIRMED.to_string()]).env(BROKER, ground.rabbit.vhost());
    let said = run_program("switchyard-bench messages", command).await?;
    said.trim().parse().with_context(|| format!("no rate: {said}"))
}

/// Publishes tickets, takes and acknowledges them, as API and worker do, over a connection each; prints how many a second came through.
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
    let taking = tokio::spawn({
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
                // One ticket is one message.
                let published = publisher.publish(&[QUEUE]).await;
                if let Some(error) = published.error {
                    anyhow::bail!("not published: {error}");
                }
            }
            Ok(())
        })
    });
    for published in join_all(publishing).await {
        published??;
    }
    sleep_until(end).await;
    taking.await??;
    println!("{:.1}", received.load(Ordering::Relaxed) as f64 / options.seconds as f64);
    Ok(())
}
