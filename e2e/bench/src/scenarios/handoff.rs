//! Handoffs: Switchyard against FastAPI with Celery, and against pgbench on bare PostgreSQL.

use std::{net::SocketAddr, rc::Rc};

use super::settings::Settings;
use crate::{
    fixture::Fixture,
    load::{closed, open},
    progress::log_progress,
    report::{Better, Comparison, Report, figure},
    systems::{
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
/// Connections of pgbench.
const CLIENTS: usize = 32;
const PEER: &str = "FastAPI";

/// One system's figures, one per round.
#[derive(Default)]
struct Figures {
    /// Handoffs per second at each of [`CONNECTIONS`].
    rates: [Vec<f64>; 2],
    /// Milliseconds at the common rate.
    p99: Vec<f64>,
    /// Milliseconds at the rate that the peer reaches over the first of [`CONNECTIONS`].
    p99_at_best: Vec<f64>,
}

/// Measures the scenario and adds its comparisons to `report`.
pub async fn measure(fixture: &Fixture, keys: &Keys, settings: Settings, report: &mut Report) -> anyhow::Result<()> {
    // The peer's highest rate decides the common rate at which latency is compared.
    log_progress("handoffs: finding the highest rate of FastAPI");
    fixture.recreate_database(THEIRS, fastapi::TEMPLATE).await?;
    let api = FastApi::start(fixture, THEIRS).await?;
    let best = closed(settings.plan(api.address, CONNECTIONS[0]), Rc::new(Handoffs::fresh(keys))).await?;
    api.process.stop().await?;
    let rate = (best.per_second() * 0.7).floor().max(1.0);

    let (mut ours, mut theirs) = (Figures::default(), Figures::default());
    let (mut plain, mut submit) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        for load in Load::all(rate) {
            log_progress(&format!("handoffs, round {round} of {}, {}", settings.rounds, load.description()));
            fixture.recreate_database(OURS, switchyard::TEMPLATE).await?;
            let mounted = Mounted::new(fixture, OURS)?;
            let api = Api::start(fixture, &mounted).await?;
            ours.measure("Switchyard", api.address, keys, load, settings, report).await?;
            api.process.stop().await?;

            fixture.recreate_database(THEIRS, fastapi::TEMPLATE).await?;
            let api = FastApi::start(fixture, THEIRS).await?;
            theirs.measure(PEER, api.address, keys, load, settings, report).await?;
            api.process.stop().await?;
        }
        let best = Load::Best(theirs.rates[0].last().copied().unwrap_or(rate));
        log_progress(&format!("handoffs, round {round} of {}, {}", settings.rounds, best.description()));
        fixture.recreate_database(OURS, switchyard::TEMPLATE).await?;
        let mounted = Mounted::new(fixture, OURS)?;
        let api = Api::start(fixture, &mounted).await?;
        ours.measure("Switchyard", api.address, keys, best, settings, report).await?;
        api.process.stop().await?;

        log_progress(&format!("handoffs, round {round}: pgbench"));
        for (script, rates) in [(pgbench::PLAIN, &mut plain), (pgbench::SUBMIT, &mut submit)] {
            fixture.recreate_database(BARE, switchyard::TEMPLATE).await?;
            rates.push(pgbench::transactions(fixture, BARE, script, CLIENTS, settings.duration).await?);
        }
    }
    for database in [OURS, THEIRS, BARE] {
        fixture.drop_database(database).await?;
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
            if_behind: "With few connections batches are small, and each waits for its own commit.",
        });
    }
    report.comparisons.push(Comparison {
        against: "FastAPI + Celery + Redis",
        work: format!("p99 of handoffs at {}/s, 70 % of the peer's highest rate, open loop", figure(rate)),
        unit: "ms",
        ours: ours.p99,
        theirs: theirs.p99,
        better: Better::Less,
        at_least: 0.125,
        aim: 0.05,
        if_behind: "Requests that arrive one at a time are committed one at a time, as the peer's are.",
    });
    report.comparisons.push(Comparison {
        against: "FastAPI + Celery + Redis",
        work: format!(
            "p99 of handoffs at the rate that the peer reaches over {} connections: the peer's closed loop, Switchyard's open loop",
            CONNECTIONS[0]
        ),
        unit: "ms",
        ours: ours.p99_at_best,
        theirs: theirs.p99_at_best,
        better: Better::Less,
        at_least: 0.125,
        aim: 0.05,
        if_behind: "Requests that arrive one at a time are committed one at a time.",
    });
    for (theirs, work) in
        [(plain, "bare writes in one statement"), (submit, "Switchyard's admission, one request per call")]
    {
        for (n, connections) in CONNECTIONS.into_iter().enumerate() {
            report.comparisons.push(Comparison {
                against: "pgbench, 32 clients",
                work: format!("{work}; Switchyard over HTTP, {connections} connections"),
                unit: "/s",
                ours: ours.rates[n].clone(),
                theirs: theirs.clone(),
                better: Better::More,
                at_least: 0.5,
                aim: 1.0,
                if_behind: "pgbench talks to PostgreSQL alone, without HTTP, cache, rate limit or broker, and takes less of the two cores than \
                            an API and its load generator.",
            });
        }
    }
    Ok(())
}

/// The load on both systems.
#[derive(Clone, Copy)]
enum Load {
    /// A closed loop over this one of [`CONNECTIONS`].
    Closed(usize),
    /// An open loop at this rate per second.
    Open(f64),
    /// An open loop at the highest rate of the peer.
    Best(f64),
}

impl Load {
    fn all(rate: f64) -> [Self; 3] {
        [Self::Closed(0), Self::Closed(1), Self::Open(rate)]
    }

    fn description(self) -> String {
        match self {
            Self::Closed(n) => format!("{} connections", CONNECTIONS[n]),
            Self::Open(rate) | Self::Best(rate) => format!("{}/s", figure(rate)),
        }
    }
}

impl Figures {
    async fn measure(
        &mut self,
        system: &str,
        address: SocketAddr,
        keys: &Keys,
        load: Load,
        settings: Settings,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let traffic = Rc::new(Handoffs::fresh(keys));
        let tally = match load {
            Load::Closed(n) => {
                let tally = closed(settings.plan(address, CONNECTIONS[n]), traffic).await?;
                self.rates[n].push(tally.per_second());
                // For the peer, latency at its highest rate comes from the closed loop.
                if n == 0 && system == PEER {
                    self.p99_at_best.push(tally.quantile_ms(0.99));
                }
                tally
            }
            Load::Open(rate) => {
                let tally = open(settings.plan(address, CONNECTIONS[1]), rate, traffic).await?;
                self.p99.push(tally.quantile_ms(0.99));
                tally
            }
            Load::Best(rate) => {
                let tally = open(settings.plan(address, CONNECTIONS[1]), rate, traffic).await?;
                self.p99_at_best.push(tally.quantile_ms(0.99));
                tally
            }
        };
        report.record_errors(system, &load.description(), &tally);
        log_progress(&format!(
            "  {system}: {}/s, p50 {} ms, p99 {} ms",
            figure(tally.per_second()),
            figure(tally.quantile_ms(0.5)),
            figure(tally.quantile_ms(0.99))
        ));
        Ok(())
    }
}
