//! The whole profile pipeline under load, with faults at every stage: the source refuses, images fail in three ways, the bucket's server is killed. Every
//! analysis completes with every image stored, and what discovery adds stays within the tenants' quota.
//!
//! `PIPELINE_ANALYSES` says how many; with `PIPELINE_INTO` the figures are written there (`make pipeline`). Without it nothing is timed.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, stream};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Cluster, Platform, patiently, profile_source};

const LIMIT: Duration = Duration::from_secs(600);
/// Analyses that a tenant of the tier premium may have unfinished.
const AT_ONCE: usize = 10;

/// What came of one analysis.
struct Done {
    job: String,
    took: Duration,
    images: Vec<String>,
    posts: usize,
    attempts: u64,
}

/// A name whose prefix makes trouble: a third of them none.
fn name(n: usize) -> String {
    let prefix = ["shaky-", "flaky-", "", "shaky-limit-", "limit-", ""][n % 6];
    format!("{prefix}pipeline-{n}")
}

async fn analysed(client: &ApiClient, name: &str) -> Result<Done> {
    let began = Instant::now();
    // Full lanes and limits are no failures: whoever is refused comes again.
    let job = patiently(LIMIT, format!("{name} is accepted"), || async { client.submit(name).await }).await?;
    let ended = client.ended(&job, LIMIT).await?;
    ensure!(ended["state"] == "completed", "{name}: {ended}");
    let result = client.get(&format!("/v1/jobs/{job}/result")).await?.expect(200)?;
    ensure!(result["gaps"].as_array().is_none_or(Vec::is_empty), "{name}: {}", result["gaps"]);
    let posts = result["posts"].as_array().context("posts")?;
    let mut images = Vec::new();
    for image in posts.iter().flat_map(|post| post["images"].as_array().into_iter().flatten()) {
        let stored = image["stored"]["original"].as_str().with_context(|| format!("{name}: not stored: {image}"))?;
        images.push(stored.to_owned());
    }
    ensure!(!images.is_empty(), "{name} has no images: {result}");
    Ok(Done {
        job,
        took: began.elapsed(),
        images,
        posts: posts.len(),
        attempts: ended["attempt"].as_u64().unwrap_or(1),
    })
}

#[tokio::test]
async fn every_analysis_completes_with_every_image_stored_whatever_fails_on_the_way() -> Result<()> {
    let analyses: usize = std::env::var("PIPELINE_ANALYSES").ok().map_or(Ok(24), |n| n.parse())?;
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("pipeline").await?;
    let source = profile_source(&namespace).await?;
    let delays = json!(["1s", "2s", "4s", "8s", "15s", "30s"]);
    let spec = json!({"environment": "development", "profileSource": source, "retry": {"delays": delays}});
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let admin = platform.admin().await?;
    let mut tenants = Vec::new();
    for _ in 0..2 {
        tenants.push(admin.tenant("premium", 100_000).await?);
    }

    let began = Instant::now();
    let names: Vec<(usize, String)> = (0..analyses).map(|n| (n, name(n))).collect();
    let work = stream::iter(&names)
        .map(|(n, name)| analysed(&tenants[n % tenants.len()].1, name))
        .buffer_unordered(AT_ONCE * tenants.len())
        .collect::<Vec<Result<Done>>>();
    // In the middle of it the bucket's server is killed, twice.
    let kills = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(6)).await;
            let pods = namespace.api("Pod");
            let servers = ListParams::default().labels("app.kubernetes.io/component=object-store");
            pods.delete_collection(&DeleteParams::default().grace_period(0), &servers).await?;
        }
        anyhow::Ok(())
    };
    let (done, killed) = tokio::join!(work, kills);
    killed?;
    let took = began.elapsed();
    let done = done.into_iter().collect::<Result<Vec<_>>>()?;
    let jobs: BTreeSet<&str> = done.iter().map(|done| done.job.as_str()).collect();
    ensure!(jobs.len() == analyses, "{} jobs for {analyses} analyses", jobs.len());
    let images: usize = done.iter().map(|done| done.images.len()).sum();

    // What discovery found: free of charge, on the low lane, no more at once than the tier allows.
    for (tenant, client) in &tenants {
        admin.balances(tenant).await?;
        let listed =
            admin.get(&format!("/admin/v1/jobs?tenant={tenant}&discovered=true&limit=200")).await?.expect(200)?;
        let listed = listed["jobs"].as_array().context("jobs")?;
        let own = client.get("/v1/jobs?limit=200").await?.expect(200)?;
        let own: BTreeSet<&str> =
            own["jobs"].as_array().context("jobs")?.iter().filter_map(|job| job["id"].as_str()).collect();
        let found: Vec<&Value> =
            listed.iter().filter(|job| !own.contains(job["id"].as_str().unwrap_or_default())).collect();
        ensure!(!found.is_empty(), "nothing was discovered");
        ensure!(found.iter().all(|job| job["lane"] == "low"), "{found:?}");
        let open = found.iter().filter(|job| job["finished_at"].is_null()).count();
        ensure!(open <= AT_ONCE, "{open} discovered analyses are unfinished");
    }

    let mut times: Vec<f64> = done.iter().map(|done| done.took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let posts: usize = done.iter().map(|done| done.posts).sum();
    let retried = done.iter().filter(|done| done.attempts > 1).count();
    let minutes = took.as_secs_f64() / 60.0;
    let table = format!(
        "| analyses | posts | images stored | first attempts failed | minutes | analyses a minute | median, longest |\n|---|---|---|---|---|---|---|\n\
         | {analyses} | {posts} | {images} of {images} | {retried} | {minutes:.1} | {:.0} | {:.1} s, {:.1} s |\n",
        analyses as f64 / minutes,
        times[times.len() / 2],
        times[times.len() - 1],
    );
    println!("{table}");
    if let Ok(path) = std::env::var("PIPELINE_INTO") {
        std::fs::write(path, table)?;
    }
    namespace.delete().await
}
