//! Injects the planned faults.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lapin::{BasicProperties, ConnectionProperties, options::BasicPublishOptions};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{broker::JOBS_EXCHANGE, model::Queue};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    fixture::{Fixture, Server},
    plan::Fault,
    processes::{ManagedProcess, Processes},
    program::Signal,
    proxy::{Mode, Proxy},
    worker::LEASE,
};

/// Downtime of a killed process or server.
const DOWNTIME: Duration = Duration::from_millis(400);
/// How long a proxy drops responses.
const DROP_TIME: Duration = Duration::from_millis(150);
/// How long a proxy stalls.
const STALL_TIME: Duration = Duration::from_millis(2500);

/// Longest wait for sessions to terminate.
const SESSIONS_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of injected faults by name.
pub type FaultCounts = BTreeMap<&'static str, u32>;

/// Injects each planned fault at its time, or once its target has recovered from an earlier one.
/// Returns when every target has recovered.
pub async fn inject_all(
    fixture: &Arc<Fixture>,
    processes: &Arc<Processes>,
    planned: &[(Duration, Fault)],
    seed: u64,
) -> FaultCounts {
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    for (at, fault) in planned.iter().copied() {
        sleep_until(began + at).await;
        let (fixture, processes) = (fixture.clone(), processes.clone());
        under_way.spawn(async move { (fault, inject(&fixture, &processes, fault, seed).await) });
    }
    let mut done = FaultCounts::new();
    for (fault, injected) in under_way.join_all().await {
        *done.entry(fault.name()).or_default() += u32::from(injected);
    }
    done
}

async fn inject(fixture: &Fixture, processes: &Processes, fault: Fault, seed: u64) -> bool {
    match fault {
        Fault::KillApi(n) => kill(&processes.apis[n]).await,
        Fault::KillWorker(n) => kill(&processes.workers[n]).await,
        Fault::TerminateApi(n) => terminate(&processes.apis[n]).await,
        Fault::TerminateWorker(n) => terminate(&processes.workers[n]).await,
        Fault::PauseWorker(n) => pause(&processes.workers[n]).await,
        Fault::KillDatabase => {
            let (server, _guard) = fixture.database.lock().await;
            server.kill();
            sleep(DOWNTIME).await;
            server.up().await;
            true
        }
        Fault::KillBroker => {
            let (server, _guard) = fixture.broker.lock().await;
            server.kill();
            sleep(DOWNTIME).await;
            server.up().await;
            true
        }
        Fault::KillCache => {
            let (server, _guard) = fixture.cache.lock().await;
            server.kill();
            sleep(DOWNTIME).await;
            server.up().await;
            true
        }
        Fault::CutDatabase => cut(&fixture.database.proxy),
        Fault::CutBroker => cut(&fixture.broker.proxy),
        Fault::DropDatabaseResponses => disturb(&fixture.database, Mode::DropResponses, DROP_TIME).await,
        Fault::DropBrokerResponses => disturb(&fixture.broker, Mode::DropResponses, DROP_TIME).await,
        Fault::StallDatabase => disturb(&fixture.database, Mode::Stall, STALL_TIME).await,
        Fault::StallBroker => disturb(&fixture.broker, Mode::Stall, STALL_TIME).await,
        Fault::TerminateSessions => terminate_sessions(fixture).await.is_ok_and(|count| count > 0),
        Fault::DuplicateMessages(count) => publish_duplicates(fixture, count, seed).await.is_ok(),
    }
}

async fn kill(process: &ManagedProcess) -> bool {
    let _guard = process.restart_lock.lock().await;
    process.kill();
    sleep(DOWNTIME).await;
    process.start().is_ok()
}

async fn terminate(process: &ManagedProcess) -> bool {
    let _guard = process.restart_lock.lock().await;
    process.stop().await;
    process.start().is_ok()
}

async fn pause(process: &ManagedProcess) -> bool {
    let _guard = process.restart_lock.lock().await;
    process.signal(Signal::Stop);
    // Longer than the lease, so that the reaper takes the jobs.
    sleep(LEASE + Duration::from_millis(2500)).await;
    process.signal(Signal::Continue);
    true
}

fn cut(proxy: &Proxy) -> bool {
    proxy.cut();
    true
}

async fn disturb<T>(server: &Server<T>, mode: Mode, time: Duration) -> bool {
    // The lock keeps disturbances from overlapping: the first to end would end both.
    let (_, _guard) = server.lock().await;
    server.proxy.set(mode);
    sleep(time).await;
    server.proxy.set(Mode::Forward);
    true
}

async fn terminate_sessions(fixture: &Fixture) -> anyhow::Result<i64> {
    let (_, _guard) = fixture.database.lock().await;
    let client = fixture.client().await?;
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename like 'analytics%'";
    let began = Instant::now();
    loop {
        // After another fault the platform needs a moment to reconnect.
        let ended = client.query_one(end, &[]).await?.get(0);
        if ended > 0 || began.elapsed() > SESSIONS_TIMEOUT {
            return Ok(ended);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn publish_duplicates(fixture: &Fixture, count: u32, seed: u64) -> anyhow::Result<()> {
    let (_, _guard) = fixture.broker.lock().await;
    let mut rng = StdRng::seed_from_u64(seed ^ u64::from(count));
    let connection = lapin::Connection::connect(&fixture.broker_uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for _ in 0..count {
        let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
        let lane = Lane::ALL[rng.random_range(0..Lane::ALL.len())];
        let body = match rng.random_range(0..10) {
            0 => "{}".to_owned(),
            1 => "nonsense".to_owned(),
            _ => format!(r#"{{"jobs":{}}}"#, rng.random_range(1..=32)),
        };
        let key = Queue { kind, lane }.to_string();
        let properties = BasicProperties::default().with_delivery_mode(2);
        channel
            .basic_publish(
                JOBS_EXCHANGE.into(),
                key.as_str().into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties,
            )
            .await?
            .await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}
