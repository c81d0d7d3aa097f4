//! The rate limits of the profile source, against a real Redis.

use std::{sync::Arc, time::Duration};

use switchyard_contract::SourceLimits;
use switchyard_jobs::{cache::Cache, model::TenantId, testing::redis};
use switchyard_worker::{metrics::Metrics, throttle::Throttle};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

const WORKERS: u32 = 4;

/// The throttle of another worker process with the same Redis.
fn worker(cache: &str, limits: SourceLimits) -> Throttle {
    let cache = Cache::connect(&cache.to_owned().into(), Duration::ZERO).expect("a URL");
    Throttle::new(cache, limits, Arc::new(Metrics::default()))
}

fn tenant() -> TenantId {
    TenantId(Uuid::new_v4())
}

/// The runs that the workers start together within two seconds, and the seconds that it took.
async fn runs_of_all_workers(limits: SourceLimits) -> (u32, f64) {
    let redis = redis().await.database();
    let began = Instant::now();
    let end = began + Duration::from_secs(2);
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let throttle = worker(&redis, limits);
        workers.spawn(async move {
            let mut acquired = 0;
            while throttle.acquire(tenant(), end).await.is_ok() {
                acquired += 1;
            }
            acquired
        });
    }
    (workers.join_all().await.into_iter().sum(), began.elapsed().as_secs_f64())
}

#[tokio::test]
async fn workers_together_use_the_source_rate_and_no_more() {
    let limits = SourceLimits { runs_per_minute: 1200, tenant_runs_per_minute: 60_000 };
    // A burst of a quarter of a second, then 20 a second. On a busy machine Redis may take longer
    // than 50 ms. A worker then uses a bucket of its own with a tenth of the rate, and the attempt
    // is repeated; even all of these together exceed the rate by no more than that.
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (acquired, seconds) = runs_of_all_workers(limits).await;
        let (acquired, shared) = (f64::from(acquired), 5.0 + 20.0 * seconds);
        let own = f64::from(WORKERS) * (1.0 + 2.0 * seconds);
        assert!(acquired <= shared + own, "{acquired} runs in {seconds} s");
        if (30.0..=shared).contains(&acquired) {
            return;
        }
        seen.push((acquired, seconds));
    }
    panic!("runs and seconds: {seen:?}");
}

#[tokio::test]
async fn exhausted_tenant_waits_and_other_tenants_do_not() {
    let limits = SourceLimits { tenant_runs_per_minute: 6, ..SourceLimits::default() };
    let throttle = worker(&redis().await.database(), limits);
    let (greedy, modest) = (tenant(), tenant());
    assert_eq!(throttle.acquire(greedy, Instant::now()).await, Ok(()));
    let wait =
        throttle.acquire(greedy, Instant::now() + Duration::from_secs(5)).await.expect_err("ten seconds too early");
    assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
    assert_eq!(throttle.acquire(modest, Instant::now()).await, Ok(()));
}

#[tokio::test]
async fn worker_keeps_to_a_tenth_of_the_rate_without_redis() {
    let throttle = worker("redis://127.0.0.1:9", SourceLimits { runs_per_minute: 60, tenant_runs_per_minute: 60 });
    assert_eq!(throttle.acquire(tenant(), Instant::now()).await, Ok(()));
    let wait = throttle.acquire(tenant(), Instant::now()).await.expect_err("a tenth of one a second");
    assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
}
