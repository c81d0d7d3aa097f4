//! How fast the profile source is asked, against a real Redis.

use std::{sync::Arc, time::Duration};

use switchyard_contract::SourceLimits;
use switchyard_jobs::{cache::Cache, model::TenantId, testing::redis};
use switchyard_worker::{metrics::Metrics, throttle::Throttle};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

const WORKERS: u32 = 4;

/// What another worker process would have over the same Redis.
fn worker(cache: &str, limits: SourceLimits) -> Throttle {
    let cache = Cache::connect(&cache.to_owned().into(), Duration::ZERO).expect("an address");
    Throttle::new(cache, limits, Arc::new(Metrics::default()))
}

fn tenant() -> TenantId {
    TenantId(Uuid::new_v4())
}

#[tokio::test]
async fn however_many_workers_ask_the_source_hears_no_more_than_it_takes() {
    let redis = redis().await.database();
    let limits = SourceLimits { runs_per_minute: 1200, tenant_runs_per_minute: 60_000 };
    let began = Instant::now();
    let end = began + Duration::from_secs(2);
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let throttle = worker(&redis, limits);
        workers.spawn(async move {
            let mut passed = 0;
            while throttle.pass(tenant(), end).await.is_ok() {
                passed += 1;
            }
            passed
        });
    }
    let passed: u32 = workers.join_all().await.into_iter().sum();
    let seconds = began.elapsed().as_secs_f64();
    // A worker that Redis keeps waiting on a busy machine may start what it could by itself.
    let most = 5.0 + 20.0 * seconds + f64::from(WORKERS) * (1.0 + 2.0 * seconds);
    assert!(f64::from(passed) <= most, "{passed} of {most}");
    assert!(passed >= 10, "{passed}: what may be asked is asked");
}

#[tokio::test]
async fn a_tenant_that_has_had_its_turns_waits_and_another_one_does_not() {
    let limits = SourceLimits { tenant_runs_per_minute: 6, ..SourceLimits::default() };
    let throttle = worker(&redis().await.database(), limits);
    let (greedy, modest) = (tenant(), tenant());
    assert_eq!(throttle.pass(greedy, Instant::now()).await, Ok(()));
    let wait = throttle.pass(greedy, Instant::now() + Duration::from_secs(5)).await.expect_err("ten seconds too early");
    assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
    assert_eq!(throttle.pass(modest, Instant::now()).await, Ok(()));
}

#[tokio::test]
async fn without_redis_a_worker_keeps_to_its_tenth() {
    let throttle = worker("redis://127.0.0.1:9", SourceLimits { runs_per_minute: 60, tenant_runs_per_minute: 60 });
    assert_eq!(throttle.pass(tenant(), Instant::now()).await, Ok(()));
    let wait = throttle.pass(tenant(), Instant::now()).await.expect_err("a tenth of one a second");
    assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
}
