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
const PEER: &str = "FastAPI";

/// One side's figures, one a round.
#[derive(Default)]
struct Side {
    /// Handoffs a second at each of [`CONNECTIONS`].
    rates: [Vec<f64>; 2],
    /// In milliseconds at the common rate.
    p99: Vec<f64>,
    /// In milliseconds at the rate that the peer reaches over the first of [`CONNECTIONS`]: how long the peer's callers wait there, and how long ours.
    p99_at_best: Vec<f64>,
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
        for load in Load::all(rate) {
            say(&format!("handoffs, round {round} of {}, {}", scale.rounds, load.words()));
            ground.fresh(OURS, switchyard::TEMPLATE).await?;
            let mounted = Mounted::new(ground, OURS)?;
            let api = Api::start(ground, &mounted).await?;
            ours.measure("Switchyard", api.address, keys, load, scale, report).await?;
            api.process.stop().await?;

            ground.fresh(THEIRS, fastapi::TEMPLATE).await?;
            let api = FastApi::start(ground, THEIRS).await?;
            theirs.measure(PEER, api.address, keys, load, scale, report).await?;
            api.process.stop().await?;
        }
        let best = Load::Best(theirs.rates[0].last().copied().unwrap_or(rate));
        say(&format!("handoffs, round {round} of {}, {}", scale.rounds, best.words()));
        ground.fresh(OURS, switchyard::TEMPLATE).await?;
        let mounted = Mounted::new(ground, OURS)?;
        let api = Api::start(ground, &mounted).await?;
        ours.measure("Switchyard", api.address, keys, best, scale, report).await?;
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
    report.comparisons.push(Comparison {
        against: "FastAPI + Celery + Redis",
        work: format!(
            "p99 of handoffs at the rate that the peer reaches over {} connections: theirs there, ours in an open loop",
            CONNECTIONS[0]
        ),
        unit: "ms",
        ours: ours.p99_at_best,
        theirs: theirs.p99_at_best,
        better: Better::Less,
        at_least: 0.125,
        aim: 0.05,
        if_behind: "Requests that come one at a time go to the disk one at a time.",
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

/// How both sides are asked.
#[derive(Clone, Copy)]
enum Load {
    /// As fast as they answer, over this one of [`CONNECTIONS`].
    Closed(usize),
    /// So many a second.
    Open(f64),
    /// As many a second as the peer reaches at its best.
    Best(f64),
}

impl Load {
    fn all(rate: f64) -> [Self; 3] {
        [Self::Closed(0), Self::Closed(1), Self::Open(rate)]
    }

    fn words(self) -> String {
        match self {
            Self::Closed(n) => format!("{} connections", CONNECTIONS[n]),
            Self::Open(rate) | Self::Best(rate) => format!("{}/s", figure(rate)),
        }
    }
}

impl Side {
    async fn measure(
        &mut self,
        whose: &str,
        address: SocketAddr,
        keys: &Keys,
        load: Load,
        scale: Scale,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let traffic = Rc::new(Handoffs::fresh(keys));
        let tally = match load {
            Load::Closed(n) => {
                let tally = closed(scale.plan(address, CONNECTIONS[n]), traffic).await?;
                self.rates[n].push(tally.per_second());
                // Of the peer, whose best this is; ours is asked at that rate.
                if n == 0 && whose == PEER {
                    self.p99_at_best.push(tally.quantile_ms(0.99));
                }
                tally
            }
            Load::Open(rate) => {
                let tally = open(scale.plan(address, CONNECTIONS[1]), rate, traffic).await?;
                self.p99.push(tally.quantile_ms(0.99));
                tally
            }
            Load::Best(rate) => {
                let tally = open(scale.plan(address, CONNECTIONS[1]), rate, traffic).await?;
                self.p99_at_best.push(tally.quantile_ms(0.99));
                tally
            }
        };
        note(report, whose, &load.words(), &tally);
        say(&format!(
            "  {whose}: {}/s, p50 {} ms, p99 {} ms",
            figure(tally.per_second()),
            figure(tally.quantile_ms(0.5)),
            figure(tally.quantile_ms(0.99))
        ));
        Ok(())
    }
}
