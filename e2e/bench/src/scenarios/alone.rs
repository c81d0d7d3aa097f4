//! Switchyard's API without a peer: latency at the documented rate, cached results, cache hits on a
//! realistic mix, and memory.

use std::{rc::Rc, time::Duration};

use secrecy::SecretString;
use serde_json::json;
use switchyard_jobs::cache::Cache;

use super::settings::Settings;
use crate::{
    fixture::Fixture,
    load::{Plan, Tally, closed, open},
    process::memory_mib,
    progress::log_progress,
    report::{Report, figure},
    systems::switchyard::{self, Api, Keys, Mounted},
    traffic::{Handoffs, Names, Zipf, profile},
};

const DATABASE: &str = "bench_alone";
/// The documented rate in requests per second.
const RATE: f64 = 500.0;
/// The documented number of open connections.
const CLIENTS: usize = 1000;
/// Profiles in the cache for the cached results.
const CACHED: u32 = 1000;
/// Profiles of the realistic mix.
const CATALOGUE: u32 = 10_000;
/// Rounds of the mix; the first one starts with an empty cache.
const MIX_ROUNDS: usize = 3;

/// Measures the scenario and adds its figures to `report`.
pub async fn measure(fixture: &Fixture, keys: &Keys, settings: Settings, report: &mut Report) -> anyhow::Result<()> {
    fixture.recreate_database(DATABASE, switchyard::TEMPLATE).await?;
    let mounted = Mounted::new(fixture, DATABASE)?;
    let api = Api::start(fixture, &mounted).await?;
    let worker = switchyard::worker(fixture, &mounted, Duration::ZERO).await?;
    let idle = memory_mib(api.process.pid());

    log_progress("alone: handoffs at 500/s with 1,000 open connections and a running worker");
    let tally = open(settings.plan(api.address, CLIENTS), RATE, Rc::new(Handoffs::fresh(keys))).await?;
    report.record_errors("Switchyard", "handoffs at 500/s", &tally);
    report.figure("handoff at 500/s, 1,000 open connections, with a worker finishing the jobs", quantiles(&tally));

    log_progress("alone: cached results");
    let cache = Cache::connect(&SecretString::from(mounted.cache.clone()), Duration::from_hours(1))?;
    for number in 0..CACHED {
        cache.put_result(&profile(u64::from(number)), &result(number)).await;
    }
    let traffic = || Rc::new(Handoffs::new(keys, Names::Uniform(CACHED)));
    let tally = open(settings.plan(api.address, CLIENTS), RATE, traffic()).await?;
    report.record_errors("Switchyard", "cached results at 500/s", &tally);
    report.figure("cached result (8 kB) at 500/s, 1,000 open connections", quantiles(&tally));
    let tally = closed(settings.plan(api.address, 32), traffic()).await?;
    report.record_errors("Switchyard", "cached results, 32 connections", &tally);
    report.figure("cached results, 32 connections, closed loop", format!("{}/s", figure(tally.per_second())));
    let loaded = (memory_mib(api.process.pid()), memory_mib(worker.pid()));
    worker.stop().await?;
    api.process.stop().await?;

    log_progress("alone: a mix of profiles");
    // Mounts a new, empty cache.
    let mounted = Mounted::new(fixture, DATABASE)?;
    let api = Api::start(fixture, &mounted).await?;
    let worker = switchyard::worker(fixture, &mounted, Duration::ZERO).await?;
    let mut shares = Vec::new();
    for _ in 0..MIX_ROUNDS {
        let plan = Plan { warm_up: Duration::ZERO, ..settings.plan(api.address, 32) };
        let tally = closed(plan, Rc::new(Handoffs::new(keys, Names::Zipf(Zipf::new(CATALOGUE))))).await?;
        report.record_errors("Switchyard", "mix of profiles", &tally);
        let (hits, misses) = (tally.count(200), tally.count(202));
        shares.push(format!(
            "{:.1} % of {}",
            100.0 * hits as f64 / (hits + misses).max(1) as f64,
            figure((hits + misses) as f64)
        ));
    }
    report.figure(
        format!(
            "cache hits, Zipf mix (exponent 1) over {} profiles, cache empty at first, {} s per round",
            figure(f64::from(CATALOGUE)),
            settings.duration.as_secs()
        ),
        shares.join(", then "),
    );
    report.figure(
        "memory (PSS) of the API: idle, after 500/s from 1,000 connections",
        format!("{} MiB, {} MiB", figure(idle), figure(loaded.0)),
    );
    report.figure("memory (PSS) of a worker after that, 2,000 slots", format!("{} MiB", figure(loaded.1)));
    worker.stop().await?;
    api.process.stop().await?;
    fixture.drop_database(DATABASE).await
}

fn quantiles(tally: &Tally) -> String {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| figure(tally.quantile_ms(quantile)));
    format!("p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms")
}

/// A result of typical size.
fn result(number: u32) -> serde_json::Value {
    let posts: Vec<_> = (0..30)
        .map(|post| {
            json!({
                "id": format!("{number}-{post}"), "language": "en", "images": [{ "url": "https://images.example/1.jpg", "width": 1080, "height": 1080 }],
                "sentiment": { "label": "positive", "score": 0.93 }, "category": { "label": "travel", "score": 0.81 },
                "topics": [{ "label": "travel", "score": 0.81 }],
            })
        })
        .collect();
    json!({
        "profile": { "username": profile(u64::from(number)), "followers": 1234, "biography": "for benchmarks" },
        "posts": posts,
        "aggregate": { "languages": { "en": 1.0 }, "sentiment": { "positive": 1.0 }, "categories": { "travel": 1.0 }, "engagement_rate": 0.04 },
        "model": { "name": "e5", "version": "1", "fallback": false },
    })
}
