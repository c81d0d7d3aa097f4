//! Makes what was planned go wrong.

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
    fleet::{Fleet, Member},
    ground::{Ground, Server},
    plan::Fault,
    program::Signal,
    proxy::{Proxy, Wire},
    worker::LEASE,
};

/// How long something stays down.
const DOWN: Duration = Duration::from_millis(400);
/// How long a wire loses answers.
const LOSING: Duration = Duration::from_millis(150);
/// How long a wire is mute.
const SILENCE: Duration = Duration::from_millis(2500);

/// Longest wait for sessions that can be ended.
const SESSIONS: Duration = Duration::from_secs(10);

/// How often what happened.
pub type Done = BTreeMap<&'static str, u32>;

/// Makes each planned fault happen at its moment, or as soon as its victim is whole after another one, and waits until everything is whole again.
pub async fn carry_out(ground: &Arc<Ground>, fleet: &Arc<Fleet>, planned: &[(Duration, Fault)], seed: u64) -> Done {
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    for (at, fault) in planned.iter().copied() {
        sleep_until(began + at).await;
        let (ground, fleet) = (ground.clone(), fleet.clone());
        under_way.spawn(async move { (fault, happen(&ground, &fleet, fault, seed).await) });
    }
    let mut done = Done::new();
    for (fault, happened) in under_way.join_all().await {
        *done.entry(fault.name()).or_default() += u32::from(happened);
    }
    done
}

async fn happen(ground: &Ground, fleet: &Fleet, fault: Fault, seed: u64) -> bool {
    match fault {
        Fault::KillApi(n) => killed(&fleet.apis[n]).await,
        Fault::KillWorker(n) => killed(&fleet.workers[n]).await,
        Fault::EndApi(n) => ended(&fleet.apis[n]).await,
        Fault::EndWorker(n) => ended(&fleet.workers[n]).await,
        Fault::PauseWorker(n) => paused(&fleet.workers[n]).await,
        Fault::KillDatabase => {
            let (server, _turn) = ground.database.mine().await;
            server.kill();
            sleep(DOWN).await;
            server.up().await;
            true
        }
        Fault::KillBroker => {
            let (server, _turn) = ground.broker.mine().await;
            server.kill();
            sleep(DOWN).await;
            server.up().await;
            true
        }
        Fault::KillCache => {
            let (server, _turn) = ground.cache.mine().await;
            server.kill();
            sleep(DOWN).await;
            server.up().await;
            true
        }
        Fault::CutDatabase => cut(&ground.database.wire),
        Fault::CutBroker => cut(&ground.broker.wire),
        Fault::LoseDatabaseAnswers => disturbed(&ground.database, Wire::LosesAnswers, LOSING).await,
        Fault::LoseBrokerAnswers => disturbed(&ground.broker, Wire::LosesAnswers, LOSING).await,
        Fault::MuteDatabase => disturbed(&ground.database, Wire::Mute, SILENCE).await,
        Fault::MuteBroker => disturbed(&ground.broker, Wire::Mute, SILENCE).await,
        Fault::TerminateSessions => sessions_ended(ground).await.is_ok_and(|count| count > 0),
        Fault::DuplicateMessages(count) => duplicated(ground, count, seed).await.is_ok(),
    }
}

async fn killed(member: &Member) -> bool {
    let _turn = member.turn.lock().await;
    member.kill();
    sleep(DOWN).await;
    member.start().is_ok()
}

async fn ended(member: &Member) -> bool {
    let _turn = member.turn.lock().await;
    member.end().await;
    member.start().is_ok()
}

async fn paused(member: &Member) -> bool {
    let _turn = member.turn.lock().await;
    member.signal(Signal::Stop);
    // Long enough for the reaper to have come by.
    sleep(LEASE + Duration::from_millis(2500)).await;
    member.signal(Signal::Continue);
    true
}

fn cut(wire: &Proxy) -> bool {
    wire.cut();
    true
}

async fn disturbed<T>(server: &Server<T>, wire: Wire, time: Duration) -> bool {
    // Two disturbances at once would end each other.
    let (_, _turn) = server.mine().await;
    server.wire.set(wire);
    sleep(time).await;
    server.wire.set(Wire::Sound);
    true
}

async fn sessions_ended(ground: &Ground) -> anyhow::Result<i64> {
    let (_, _turn) = ground.database.mine().await;
    let client = ground.client().await?;
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename like 'analytics%'";
    let began = Instant::now();
    loop {
        // After another fault it takes a moment until there are sessions again.
        let ended = client.query_one(end, &[]).await?.get(0);
        if ended > 0 || began.elapsed() > SESSIONS {
            return Ok(ended);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn duplicated(ground: &Ground, count: u32, seed: u64) -> anyhow::Result<()> {
    let (_, _turn) = ground.broker.mine().await;
    let mut dice = StdRng::seed_from_u64(seed ^ u64::from(count));
    let connection = lapin::Connection::connect(&ground.broker_uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for _ in 0..count {
        let kind = Kind::ALL[dice.random_range(0..Kind::ALL.len())];
        let lane = Lane::ALL[dice.random_range(0..Lane::ALL.len())];
        let body = match dice.random_range(0..10) {
            0 => "{}".to_owned(),
            1 => "nonsense".to_owned(),
            _ => format!(r#"{{"jobs":{}}}"#, dice.random_range(1..=32)),
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
