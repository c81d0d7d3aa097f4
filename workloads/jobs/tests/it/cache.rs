use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use switchyard_jobs::{cache::Cache, testing::redis};

#[tokio::test]
async fn a_result_is_kept_for_its_time_and_found_with_its_age() {
    let cache = Cache::connect(&SecretString::from(redis().await.database()), Duration::from_secs(60)).unwrap();
    cache.ping().await.unwrap();
    assert_eq!(cache.result("ada").await, None);
    cache.put_result("ada", &json!({"a": 1})).await;
    let (value, age) = cache.result("ada").await.expect("a hit");
    assert_eq!(value, json!({"a": 1}));
    assert!(age < Duration::from_secs(5));
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses, counts.failures), (1, 1, 0));
}

#[tokio::test]
async fn a_bucket_gives_its_burst_and_then_says_how_long_to_wait() {
    let cache = Cache::connect(&SecretString::from(redis().await.database()), Duration::from_secs(60)).unwrap();
    for _ in 0..3 {
        assert_eq!(cache.take("tenant", 0.5, 3).await, Ok(()));
    }
    let wait = cache.take("tenant", 0.5, 3).await.expect_err("empty");
    assert!(wait > Duration::from_millis(1000) && wait <= Duration::from_secs(2), "{wait:?}");
    assert_eq!(cache.take("another", 0.5, 3).await, Ok(()));
}

#[tokio::test]
async fn without_redis_everything_is_a_miss_and_nothing_is_refused() {
    let cache = Cache::connect(&SecretString::from("redis://127.0.0.1:1/0"), Duration::from_secs(60)).unwrap();
    assert_eq!(cache.result("ada").await, None);
    cache.put_result("ada", &json!(1)).await;
    assert_eq!(cache.take("tenant", 1.0, 1).await, Ok(()));
    assert_eq!(cache.take("tenant", 1.0, 1).await, Ok(()));
    assert!(cache.ping().await.is_err());
    assert!(cache.counts().failures >= 3);
}
