//! The profile pipeline under load, with faults at every stage: the source fails, images fail in
//! three ways, the S3 server is killed. Every analysis completes with every image stored, and
//! discovered analyses stay within the tenants' quota.
//!
//! `PIPELINE_ANALYSES` is the number of analyses (24). `PIPELINE_INTO` is the file for the table of
//! docs/measurements/pipeline.md (`make pipeline`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt as _, stream};
use kube::api::{DeleteParams, ListParams};
use object_store::{ObjectStore as _, aws::AmazonS3Builder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use switchyard_e2e::{ApiClient, Cluster, Namespace, Platform, deploy_profile_source, eventually};

const LIMIT: Duration = Duration::from_mins(10);
/// The limit of unfinished analyses of a tenant in the tier premium.
const AT_ONCE: usize = 10;

/// A completed analysis.
struct Done {
    name: String,
    job: String,
    took: Duration,
    /// Key of each stored image, and its SHA-256.
    images: Vec<(String, String)>,
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
        let hash = image["sha256"].as_str().with_context(|| format!("{name}: no hash: {image}"))?;
        images.push((stored.to_owned(), hash.to_owned()));
    }
    ensure!(!images.is_empty(), "{name} has no images: {result}");
    Ok(Done {
        name: name.to_owned(),
        job,
        took: began.elapsed(),
        images,
        posts: posts.len(),
        attempts: job_state["attempt"].as_u64().unwrap_or(1),
    })
}

/// Kills the pod of the S3 server and waits for another one. Returns the uid of the killed pod.
async fn kill_object_store(namespace: &Namespace) -> Result<String> {
    let pods = namespace.api("Pod");
    let servers = ListParams::default().labels("app.kubernetes.io/component=object-store");
    let uids = async || -> Result<Vec<String>> {
        Ok(pods.list(&servers).await?.into_iter().filter_map(|pod| pod.metadata.uid).collect())
    };
    let before = uids().await?;
    let [killed] = before.as_slice() else { bail!("{} pods of the S3 server", before.len()) };
    pods.delete_collection(&DeleteParams::default().grace_period(0), &servers).await?;
    eventually(LIMIT, "another pod of the S3 server exists", || async {
        let now = uids().await?;
        ensure!(now.len() == 1 && now[0] != *killed, "{now:?}");
        Ok(())
    })
    .await?;
    Ok(killed.clone())
}

/// Reads images from the bucket and checks that each has the hash that the result states.
async fn check_bucket(namespace: &Namespace, images: &BTreeMap<String, String>) -> Result<()> {
    let service = namespace.get("Service", "main-s3").await?;
    let address = service["spec"]["clusterIP"].as_str().context("the S3 server's Service has no address")?;
    let bucket = AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}:9000"))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("switchyard")
        .with_access_key_id(namespace.secret("main-object-store", "access-key").await?)
        .with_secret_access_key(namespace.secret("main-object-store", "secret-key").await?)
        .build()?;
    for (key, expected) in images {
        let content = bucket.get(&key.as_str().into()).await.with_context(|| format!("{key} is not in the bucket"))?;
        let hash: String = Sha256::digest(content.bytes().await?).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(hash == *expected, "{key} has the hash {hash}, the result states {expected}");
    }
    Ok(())
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
    let finished = AtomicUsize::new(0);
    let names: Vec<(usize, String)> = (0..analyses).map(|n| (n, username(n))).collect();
    let work = stream::iter(&names)
        .map(async |(n, name)| {
            let done = analyze(&tenants[n % tenants.len()].1, name).await;
            finished.fetch_add(1, Ordering::Relaxed);
            done
        })
        .buffer_unordered(AT_ONCE * tenants.len())
        .collect::<Vec<Result<Done>>>();
    // Meanwhile the S3 server is killed twice.
    let kills = async {
        for finished_before in [analyses / 4, analyses / 2] {
            while finished.load(Ordering::Relaxed) < finished_before {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let unfinished = analyses - finished.load(Ordering::Relaxed);
            ensure!(unfinished > 0, "every analysis is finished before the S3 server is killed");
            let killed = kill_object_store(&namespace).await?;
            println!("killed the S3 server {killed} with {unfinished} unfinished analyses");
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
    let stored: BTreeMap<String, String> = done.iter().flat_map(|done| done.images.iter().cloned()).collect();
    check_bucket(&namespace, &stored).await?;
    // The source refuses the first run of a third of the profiles, so their first attempt fails.
    for done in &done {
        let faulty = ["flaky-", "limit-"].iter().any(|prefix| done.name.starts_with(prefix));
        ensure!(!faulty || done.attempts > 1, "{} completed at its first attempt", done.name);
    }

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
    let figures = format!(
        "- {analyses} analyses of {posts} posts in {minutes:.1} min: {:.0} a minute\n\
         - An analysis takes {:.1} s in the median, {:.1} s at most\n\
         - Images stored: {images}; objects read back from the bucket: {}\n\
         - Analyses whose first attempt failed: {retried}\n",
        analyses as f64 / minutes,
        times[times.len() / 2],
        times[times.len() - 1],
        stored.len(),
    );
    println!("{figures}");
    if let Ok(path) = std::env::var("PIPELINE_INTO") {
        std::fs::write(path, figures)?;
    }
    namespace.delete().await
}
