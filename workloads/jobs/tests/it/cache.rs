use std::time::{Duration, Instant};

use futures::future::join_all;
use secrecy::SecretString;
use serde_json::json;
use switchyard_jobs::{
    cache::{Cache, CacheAway, Taken},
    testing::redis,
};

async fn cache() -> Cache {
    Cache::connect(&SecretString::from(redis().await.database()), Duration::from_secs(60)).unwrap()
}

#[tokio::test]
async fn a_result_is_kept_for_its_time_and_found_with_its_age() {
    let cache = cache().await;
    cache.ping().await.unwrap();
    assert_eq!(cache.result("ada").await, None);
    cache.put_result("ada", &json!({"a": 1})).await;
    let (value, age) = cache.result("ada").await.expect("a hit");
    assert_eq!(value, json!({"a": 1}));
    assert!(age < Duration::from_secs(5));
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses, counts.failures), (1, 1, 0));
    cache.forget_result("ada").await;
    assert_eq!(cache.result("ada").await, None);
}

#[tokio::test]
async fn an_epoch_lasts_until_it_is_ended_and_is_the_same_for_everyone() {
    let uri = SecretString::from(redis().await.database());
    let one = Cache::connect(&uri, Duration::from_secs(60)).unwrap();
    let other = Cache::connect(&uri, Duration::from_secs(60)).unwrap();
    let first = one.look("ada").await.unwrap().epoch.expect("an epoch begins with the first look");
    assert_eq!(other.look("bob").await.unwrap().epoch, Some(first));
    other.end_epoch().await.unwrap();
    let second = one.look("ada").await.unwrap().epoch;
    assert!(second.is_some() && second != Some(first), "{second:?}");
}

#[tokio::test]
async fn a_bucket_gives_its_burst_and_then_says_how_long_to_wait() {
    let cache = cache().await;
    assert_eq!(cache.take("tenant", 2, 0.5, 3).await, Ok(Taken::Granted(2)));
    assert_eq!(
        cache.take("tenant", 2, 0.5, 3).await,
        Ok(Taken::Granted(1)),
        "one is left, and one is better than none"
    );
    let Ok(Taken::Wait(wait)) = cache.take("tenant", 2, 0.5, 3).await else { panic!("the bucket is empty") };
    assert!(wait > Duration::from_millis(1000) && wait <= Duration::from_secs(2), "{wait:?}");
    assert_eq!(cache.take("another", 9, 0.5, 3).await, Ok(Taken::Granted(3)));
}

#[tokio::test]
async fn many_takers_of_one_bucket_get_its_burst_and_its_rate_and_no_more() {
    let uri = SecretString::from(redis().await.database());
    let began = Instant::now();
    let takers = (0..8).map(|_| {
        let cache = Cache::connect(&uri, Duration::from_secs(60)).unwrap();
        async move {
            let mut got = 0;
            for _ in 0..40 {
                match cache.take("shared", 3, 100.0, 50).await {
                    Ok(Taken::Granted(n)) => got += n,
                    Ok(Taken::Wait(wait)) => tokio::time::sleep(wait).await,
                    Err(CacheAway) => {}
                }
            }
            got
        }
    });
    let got: u32 = join_all(takers).await.into_iter().sum();
    let most = 50.0 + 100.0 * began.elapsed().as_secs_f64();
    assert!(got >= 50, "{got} is less than the bucket held");
    assert!(f64::from(got) <= most, "{got} is more than {most}");
}

#[tokio::test]
async fn without_redis_everything_is_a_miss_and_takers_are_told() {
    let cache = Cache::connect(&SecretString::from("redis://127.0.0.1:1/0"), Duration::from_secs(60)).unwrap();
    assert_eq!(cache.result("ada").await, None);
    cache.put_result("ada", &json!(1)).await;
    assert_eq!(cache.take("tenant", 1, 1.0, 1).await, Err(CacheAway));
    assert_eq!(cache.end_epoch().await, Err(CacheAway));
    assert!(cache.ping().await.is_err());
    assert!(cache.counts().failures >= 3);
}
