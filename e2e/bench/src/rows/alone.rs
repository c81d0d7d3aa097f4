//! Our API alone: latency at the rate that the platform promises, cached answers, the cache's help on a realistic mix, and memory.

use std::{rc::Rc, time::Duration};

use secrecy::SecretString;
use serde_json::json;
use switchyard_jobs::cache::Cache;

use super::{Scale, note, say};
use crate::{
    ground::Ground,
    load::{Tally, closed, open},
    process::memory_mib,
    report::{Report, figure},
    sides::switchyard::{self, Api, Keys, Mounted},
    traffic::{Handoffs, Names, Zipf, profile},
};

const DATABASE: &str = "bench_alone";
/// What the platform promises: so many requests a second from so many clients.
const RATE: f64 = 500.0;
const CLIENTS: usize = 1000;
/// Profiles in the cache for cached answers.
const CACHED: u32 = 1000;
/// Profiles of the realistic mix.
const CATALOGUE: u32 = 10_000;
/// Rounds of the mix; the first finds the cache empty.
const MIX_ROUNDS: usize = 3;

pub async fn measure(ground: &Ground, keys: &Keys, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    ground.fresh(DATABASE, switchyard::TEMPLATE).await?;
    let mounted = Mounted::new(ground, DATABASE)?;
    let api = Api::start(ground, &mounted).await?;
    let worker = switchyard::worker(ground, &mounted, Duration::ZERO).await?;
    let idle = memory_mib(api.process.pid());

    say("alone: handoffs at 500/s with 1,000 open connections, finished meanwhile");
    let tally = open(scale.plan(api.address, CLIENTS), RATE, Rc::new(Handoffs::fresh(keys))).await?;
    note(report, "Switchyard", "handoffs at 500/s", &tally);
    report.figure("handoff at 500/s, 1,000 open connections, a worker finishing the jobs meanwhile", quantiles(&tally));

    say("alone: cached answers");
    let cache = Cache::connect(&SecretString::from(mounted.cache.clone()), Duration::from_secs(3600))?;
    for number in 0..CACHED {
        cache.put_result(&profile(u64::from(number)), &result(number)).await;
    }
    let traffic = || Rc::new(Handoffs::new(keys, Names::Uniform(CACHED)));
    let tally = open(scale.plan(api.address, CLIENTS), RATE, traffic()).await?;
    note(report, "Switchyard", "cached answers at 500/s", &tally);
    report.figure("cached answer (8 kB) at 500/s, 1,000 open connections", quantiles(&tally));
    let tally = closed(scale.plan(api.address, 32), traffic()).await?;
    note(report, "Switchyard", "cached answers, 32 connections", &tally);
    report.figure("cached answers, 32 connections, as fast as they come", format!("{}/s", figure(tally.per_second())));
    let loaded = (memory_mib(api.process.pid()), memory_mib(worker.pid()));
    worker.stop().await?;
    api.process.stop().await?;

    say("alone: a mix of profiles");
    // A cache that nobody has used.
    let mounted = Mounted::new(ground, DATABASE)?;
    let api = Api::start(ground, &mounted).await?;
    let worker = switchyard::worker(ground, &mounted, Duration::ZERO).await?;
    let mut shares = Vec::new();
    for _ in 0..MIX_ROUNDS {
        let plan = crate::load::Plan { warm_up: Duration::ZERO, ..scale.plan(api.address, 32) };
        let tally = closed(plan, Rc::new(Handoffs::new(keys, Names::Zipf(Zipf::new(CATALOGUE))))).await?;
        note(report, "Switchyard", "mix of profiles", &tally);
        let (hits, misses) = (tally.count(200), tally.count(202));
        shares.push(format!(
            "{:.1} % of {} requests",
            100.0 * hits as f64 / (hits + misses).max(1) as f64,
            figure((hits + misses) as f64)
        ));
    }
    report.figure(
        format!(
            "answered from the cache, Zipf mix (exponent 1) over {} profiles, cache empty at first, {} s at a time",
            figure(f64::from(CATALOGUE)),
            scale.duration.as_secs()
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
    ground.remove(DATABASE).await
}

fn quantiles(tally: &Tally) -> String {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| figure(tally.quantile_ms(quantile)));
    format!("p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms")
}

/// A result of the size that results have.
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
