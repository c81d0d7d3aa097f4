//! The cache with a real Redis.

use std::time::{Duration, Instant};

use futures::future::join_all;
use secrecy::SecretString;
use serde_json::json;
use switchyard_jobs::{
    cache::{Cache, CacheUnavailable, Taken},
    testing::redis,
};

async fn cache() -> Cache {
    Cache::connect(&SecretString::from(redis().await.database()), Duration::from_mins(1)).unwrap()
}

#[tokio::test]
async fn result_is_stored_with_its_age() {
    let cache = cache().await;
    cache.ping().await.unwrap();
    assert_eq!(cache.result("ada").await, None);
    cache.put_result("ada", &json!({"a": 1})).await;
    let (value, age) = cache.result("ada").await.expect("a hit");
    assert_eq!(value, json!({"a": 1}));
    assert!(age < Duration::from_secs(5));
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses, counts.failures), (1, 1, 0));
    cache.invalidate_result("ada").await;
    assert_eq!(cache.result("ada").await, None);
}

#[tokio::test]
async fn epoch_is_shared_until_it_is_ended() {
    let uri = SecretString::from(redis().await.database());
    let one = Cache::connect(&uri, Duration::from_mins(1)).unwrap();
    let other = Cache::connect(&uri, Duration::from_mins(1)).unwrap();
    let first = one.lookup("ada").await.unwrap().epoch.expect("the first lookup starts an epoch");
    assert_eq!(other.lookup("bob").await.unwrap().epoch, Some(first));
    other.end_epoch().await.unwrap();
    let second = one.lookup("ada").await.unwrap().epoch;
    assert!(second.is_some() && second != Some(first), "{second:?}");
}

#[tokio::test]
async fn token_bucket_grants_its_burst_then_a_wait() {
    let cache = cache().await;
    assert_eq!(cache.take("tenant", 2, 0.5, 3).await, Ok(Taken::Granted(2)));
    assert_eq!(cache.take("tenant", 2, 0.5, 3).await, Ok(Taken::Granted(1)), "the request is granted in part");
    let Ok(Taken::Wait(wait)) = cache.take("tenant", 2, 0.5, 3).await else { panic!("the bucket is empty") };
    assert!(wait > Duration::from_secs(1) && wait <= Duration::from_secs(2), "{wait:?}");
    assert_eq!(cache.take("another", 9, 0.5, 3).await, Ok(Taken::Granted(3)));
}

#[tokio::test]
async fn token_bucket_shared_by_many_grants_burst_and_rate_only() {
    let uri = SecretString::from(redis().await.database());
    let began = Instant::now();
    let clients = (0..8).map(|_| {
        let cache = Cache::connect(&uri, Duration::from_mins(1)).unwrap();
        async move {
            let mut got = 0;
            for _ in 0..40 {
                match cache.take("shared", 3, 100.0, 50).await {
                    Ok(Taken::Granted(n)) => got += n,
                    Ok(Taken::Wait(wait)) => tokio::time::sleep(wait).await,
                    Err(CacheUnavailable) => {}
                }
            }
            got
        }
    });
    let got: u32 = join_all(clients).await.into_iter().sum();
    let most = 50.0 + 100.0 * began.elapsed().as_secs_f64();
    assert!(got >= 50, "{got} is less than the bucket held");
    assert!(f64::from(got) <= most, "{got} is more than {most}");
}

#[tokio::test]
async fn unavailable_redis_is_a_miss_or_an_error() {
    let cache = Cache::connect(&SecretString::from("redis://127.0.0.1:1/0"), Duration::from_mins(1)).unwrap();
    assert_eq!(cache.result("ada").await, None);
    cache.put_result("ada", &json!(1)).await;
    assert_eq!(cache.take("tenant", 1, 1.0, 1).await, Err(CacheUnavailable));
    assert_eq!(cache.end_epoch().await, Err(CacheUnavailable));
    assert!(cache.ping().await.is_err());
    assert!(cache.counts().failures >= 3);
}
