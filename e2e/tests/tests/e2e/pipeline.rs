//! The profile pipeline under load, with faults at every stage: the source fails, images fail in
//! three ways, the S3 server is killed. Every analysis completes with every image stored, and
//! discovered analyses stay within the tenants' quota.
//!
//! `PIPELINE_ANALYSES` is the number of analyses (24). `PIPELINE_INTO` is the file for the table of
//! docs/pipeline.md (`make pipeline`).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, stream};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Cluster, Platform, deploy_profile_source, eventually};

const LIMIT: Duration = Duration::from_mins(10);
/// The limit of unfinished analyses of a tenant in the tier premium.
const AT_ONCE: usize = 10;

/// A completed analysis.
struct Done {
    job: String,
    took: Duration,
    images: Vec<String>,
    posts: usize,
    attempts: u64,
}

/// A username; the prefix of two thirds of them makes the stand-in of the profile source inject
/// faults.
fn username(n: usize) -> String {
    let prefix = ["shaky-", "flaky-", "", "shaky-limit-", "limit-", ""][n % 6];
    format!("{prefix}pipeline-{n}")
}

async fn analyze(client: &ApiClient, name: &str) -> Result<Done> {
    let began = Instant::now();
    // A full lane or an exhausted limit is no failure: submit again.
    let job = eventually(LIMIT, format!("{name} is accepted"), || async { client.submit(name).await }).await?;
    let job_state = client.wait_until_finished(&job, LIMIT).await?;
    ensure!(job_state["state"] == "completed", "{name}: {job_state}");
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
        attempts: job_state["attempt"].as_u64().unwrap_or(1),
    })
}

#[tokio::test]
async fn every_analysis_completes_with_all_images_despite_faults_at_every_stage() -> Result<()> {
    let analyses: usize = std::env::var("PIPELINE_ANALYSES").ok().map_or(Ok(24), |n| n.parse())?;
    let cluster = Cluster::connect().await?;
    let namespace = cluster.create_namespace("pipeline").await?;
    let source = deploy_profile_source(&namespace).await?;
    let delays = json!(["1s", "2s", "4s", "8s", "15s", "30s"]);
    let spec = json!({"environment": "development", "profileSource": source, "retry": {"delays": delays}});
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let admin = platform.admin().await?;
    let mut tenants = Vec::new();
    for _ in 0..2 {
        tenants.push(admin.create_tenant("premium", 100_000).await?);
    }

    let began = Instant::now();
    let names: Vec<(usize, String)> = (0..analyses).map(|n| (n, username(n))).collect();
    let work = stream::iter(&names)
        .map(|(n, name)| analyze(&tenants[n % tenants.len()].1, name))
        .buffer_unordered(AT_ONCE * tenants.len())
        .collect::<Vec<Result<Done>>>();
    // Meanwhile the S3 server is killed twice.
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

    // Discovered analyses are free of charge, on the low lane, and within the limit of the tier.
    for (tenant, client) in &tenants {
        admin.check_balance(tenant).await?;
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
