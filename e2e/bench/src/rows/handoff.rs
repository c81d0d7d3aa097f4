//! Handoffs: ours against FastAPI with Celery, and against PostgreSQL with nothing before it.

use std::{net::SocketAddr, rc::Rc};

use super::{Scale, note, say};
use crate::{
    ground::Ground,
    load::{closed, open},
    report::{Better, Comparison, Report, figure},
    sides::{
        fastapi::{self, FastApi},
        pgbench,
        switchyard::{self, Api, Keys, Mounted},
    },
    traffic::Handoffs,
};

/// Connections of the closed loops.
const CONNECTIONS: [usize; 2] = [32, 128];
const OURS: &str = "bench_ours";
const THEIRS: &str = "bench_theirs";
const BARE: &str = "bench_pgbench";
/// Clients of pgbench.
const CLIENTS: usize = 32;

/// One side's figures, one a round.
#[derive(Default)]
struct Side {
    /// Handoffs a second at each of [`CONNECTIONS`].
    rates: [Vec<f64>; 2],
    /// In milliseconds at the common rate.
    p99: Vec<f64>,
}

pub async fn measure(ground: &Ground, keys: &Keys, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    // What the peer can do decides the rate at which both are asked how long they take.
    say("FastAPI: what it can do");
    ground.fresh(THEIRS, fastapi::TEMPLATE).await?;
    let api = FastApi::start(ground, THEIRS).await?;
    let best = closed(scale.plan(api.address, CONNECTIONS[0]), Rc::new(Handoffs::fresh(keys))).await?;
    api.process.stop().await?;
    let rate = (best.per_second() * 0.7).floor().max(1.0);

    let (mut ours, mut theirs) = (Side::default(), Side::default());
    let (mut plain, mut submit) = (Vec::new(), Vec::new());
    for round in 1..=scale.rounds {
        say(&format!("handoffs, round {round} of {}: Switchyard", scale.rounds));
        ground.fresh(OURS, switchyard::TEMPLATE).await?;
        let mounted = Mounted::new(ground, OURS)?;
        let api = Api::start(ground, &mounted).await?;
        ours.measure("Switchyard", api.address, keys, rate, scale, report).await?;
        api.process.stop().await?;

        say(&format!("handoffs, round {round}: FastAPI and Celery"));
        ground.fresh(THEIRS, fastapi::TEMPLATE).await?;
        let api = FastApi::start(ground, THEIRS).await?;
        theirs.measure("FastAPI", api.address, keys, rate, scale, report).await?;
        api.process.stop().await?;

        say(&format!("handoffs, round {round}: pgbench"));
        for (script, rates) in [(pgbench::PLAIN, &mut plain), (pgbench::SUBMIT, &mut submit)] {
            ground.fresh(BARE, switchyard::TEMPLATE).await?;
            rates.push(pgbench::transactions(ground, BARE, script, CLIENTS, scale.duration).await?);
        }
    }
    for database in [OURS, THEIRS, BARE] {
        ground.remove(database).await?;
    }

    for (n, connections) in CONNECTIONS.into_iter().enumerate() {
        report.comparisons.push(Comparison {
            against: "FastAPI + Celery + Redis",
            work: format!("handoffs, {connections} connections"),
            unit: "/s",
            ours: ours.rates[n].clone(),
            theirs: theirs.rates[n].clone(),
            better: Better::More,
            at_least: 8.0,
            aim: 20.0,
            if_behind: "With few callers a batch is small, and each of them waits for its turn on the disk.",
        });
    }
    report.comparisons.push(Comparison {
        against: "FastAPI + Celery + Redis",
        work: format!("p99 of handoffs at {}/s, 70 % of the peer's best, open loop", figure(rate)),
        unit: "ms",
        ours: ours.p99,
        theirs: theirs.p99,
        better: Better::Less,
        at_least: 0.125,
        aim: 0.05,
        if_behind: "Requests that come one at a time go to the disk one at a time, as theirs do.",
    });
    for (theirs, work) in [(plain, "bare writes in one statement"), (submit, "our own admission, a request a call")] {
        for (n, connections) in CONNECTIONS.into_iter().enumerate() {
            report.comparisons.push(Comparison {
                against: "pgbench, 32 clients",
                work: format!("{work}; ours over HTTP, {connections} connections"),
                unit: "/s",
                ours: ours.rates[n].clone(),
                theirs: theirs.clone(),
                better: Better::More,
                at_least: 0.5,
                aim: 1.0,
                if_behind: "pgbench speaks to PostgreSQL alone, without HTTP, cache, rate limit or broker, and takes less of the two cores than \
                            an API and its load generator.",
            });
        }
    }
    Ok(())
}

impl Side {
    async fn measure(
        &mut self,
        whose: &str,
        address: SocketAddr,
        keys: &Keys,
        rate: f64,
        scale: Scale,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for (n, connections) in CONNECTIONS.into_iter().enumerate() {
            let tally = closed(scale.plan(address, connections), Rc::new(Handoffs::fresh(keys))).await?;
            note(report, whose, &format!("{connections} connections"), &tally);
            say(&format!(
                "  {connections} connections: {}/s, p50 {} ms, p99 {} ms",
                figure(tally.per_second()),
                figure(tally.quantile_ms(0.5)),
                figure(tally.quantile_ms(0.99))
            ));
            self.rates[n].push(tally.per_second());
        }
        let tally = open(scale.plan(address, CONNECTIONS[1]), rate, Rc::new(Handoffs::fresh(keys))).await?;
        note(report, whose, &format!("{}/s", figure(rate)), &tally);
        say(&format!("  at {}/s: p99 {} ms", figure(rate), figure(tally.quantile_ms(0.99))));
        self.p99.push(tally.quantile_ms(0.99));
        Ok(())
    }
}
