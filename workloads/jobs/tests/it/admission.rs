use futures::future::join_all;
use switchyard_contract::{Lane, Tier};
use switchyard_jobs::{
    model::JobState,
    store::{Admission, Idempotency, KeyHash, Policy, SubmitRequest},
    testing::postgres,
};

use crate::ground::{ground, ground_with, quick, request, tenant};

#[tokio::test]
async fn an_accepted_analysis_is_stored_paid_for_and_told() {
    let g = ground(Tier::Standard, 10).await;
    let Admission::Accepted { job, charged, balance, effects } = g.store.submit(&request(g.key, "ada")).await.unwrap()
    else {
        panic!("not accepted");
    };
    assert_eq!((charged, balance, g.balance().await), (2, 8, 8));
    assert_eq!((job.state, job.lane, job.attempt, job.username.as_str()), (JobState::Queued, Lane::Normal, 0, "ada"));
    assert_eq!(g.store.job(g.tenant, job.id).await.unwrap(), Some(job.clone()));
    assert_eq!(effects.ready.len(), 1);
    assert_eq!(effects.ready[0].job, job.id);
    assert_eq!(effects.events, g.store.events_after(Some(g.tenant), job.id, 0).await.unwrap());
    let usage = g.store.usage(g.tenant).await.unwrap().unwrap();
    assert_eq!((usage.running, usage.today, usage.credits), (1, 1, 8));
}

#[tokio::test]
async fn an_unknown_or_revoked_key_gets_nothing() {
    let g = ground(Tier::Free, 10).await;
    let unknown = KeyHash::of("sk_unknown");
    assert_eq!(g.store.submit(&request(unknown, "ada")).await.unwrap(), Admission::Unauthenticated);
    assert_eq!(g.store.authenticate(unknown).await.unwrap(), None);
    assert_eq!(g.store.authenticate(g.key).await.unwrap().unwrap().id, g.tenant);

    let second = g.store.create_key(g.tenant).await.unwrap().unwrap();
    let hash = KeyHash::of(secrecy::ExposeSecret::expose_secret(&second.secret));
    assert!(g.store.revoke_key(g.tenant, second.id).await.unwrap());
    assert!(g.store.revoke_key(g.tenant, second.id).await.unwrap(), "revoking twice is no mistake");
    assert_eq!(g.store.submit(&request(hash, "ada")).await.unwrap(), Admission::Unauthenticated);
    assert_eq!(g.store.authenticate(hash).await.unwrap(), None);
}

#[tokio::test]
async fn without_credits_nothing_is_accepted_or_charged() {
    let g = ground(Tier::Standard, 3).await;
    g.submit("one").await;
    let refused = g.store.submit(&request(g.key, "two")).await.unwrap();
    assert_eq!(refused, Admission::InsufficientCredits { balance: 1, price: 2 });
    assert_eq!(g.balance().await, 1);
    assert_eq!(g.store.grant_credits(g.tenant, 5, "gift").await.unwrap(), Some(Ok(6)));
    assert_eq!(g.store.grant_credits(g.tenant, -7, "too much").await.unwrap(), Some(Err(6)));
    g.submit("two").await;
    assert_eq!(g.balance().await, 4);
}

#[tokio::test]
async fn sixty_four_submits_at_once_get_exactly_the_concurrent_limit() {
    let g = ground(Tier::Enterprise, 1000).await;
    let store = g.database.store_of(12, quick());
    let names: Vec<String> = (0..64).map(|n| format!("user{n}")).collect();
    let answers = join_all(names.iter().map(|name| async { store.submit(&request(g.key, name)).await.unwrap() })).await;
    let accepted = answers.iter().filter(|a| matches!(a, Admission::Accepted { .. })).count();
    assert_eq!(accepted, 20);
    assert!(
        answers
            .iter()
            .filter(|a| !matches!(a, Admission::Accepted { .. }))
            .all(|a| *a == Admission::ConcurrentLimit { limit: 20 })
    );
    assert_eq!(g.balance().await, 1000 - 20 * 5);
}

#[tokio::test]
async fn the_daily_limit_counts_accepted_analyses_of_the_utc_day() {
    let mut policy = quick();
    policy.tiers.standard.daily = Some(3);
    let g = ground_with(Tier::Standard, 100, policy).await;
    for name in ["a", "b", "c"] {
        let job = g.submit(name).await;
        g.store.cancel(g.tenant, job.id).await.unwrap();
    }
    let Admission::DailyLimit { limit, resets_at } = g.store.submit(&request(g.key, "d")).await.unwrap() else {
        panic!("not refused");
    };
    assert_eq!(limit, 3);
    let wait = resets_at - g.store.now().await.unwrap();
    assert!(wait.num_seconds() >= 0 && wait.num_hours() < 24);
    assert_eq!(resets_at.format("%H:%M:%S").to_string(), "00:00:00");
    // A new day.
    g.database.client().await.batch_execute("update switchyard.tenants set day = day - 1").await.unwrap();
    assert_eq!(g.store.usage(g.tenant).await.unwrap().unwrap().today, 0);
    g.submit("d").await;
    assert_eq!(g.store.usage(g.tenant).await.unwrap().unwrap().today, 1);
}

#[tokio::test]
async fn a_full_lane_refuses_takes_nothing_and_is_never_overrun() {
    let mut policy = quick();
    policy.lanes.low.capacity = 10;
    policy.tiers.free.concurrent = 1;
    let database = postgres().await.database().await;
    let store = database.store_of(20, policy);
    let mut tenants = Vec::new();
    for _ in 0..16 {
        tenants.push(tenant(&store, Tier::Free, 5).await);
    }
    let answers =
        join_all(tenants.iter().map(|(_, key)| async { store.submit(&request(*key, "ada")).await.unwrap() })).await;
    assert_eq!(answers.iter().filter(|a| matches!(a, Admission::Accepted { .. })).count(), 10);
    for ((tenant, _), answer) in tenants.iter().zip(&answers) {
        let credits = store.tenant(*tenant).await.unwrap().unwrap().credits;
        match answer {
            Admission::Accepted { .. } => assert_eq!(credits, 4),
            Admission::LaneFull { lane, retry_after } => {
                assert_eq!((*lane, credits), (Lane::Low, 5));
                assert!((1..=60).contains(retry_after));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_idempotency_key_answers_the_same_again_and_conflicts_with_another_request() {
    let g = ground(Tier::Standard, 10).await;
    let idempotency = Idempotency::of("order-1", b"ada");
    let again = SubmitRequest { idempotency: Some(&idempotency), ..request(g.key, "ada") };
    // All at once: one is accepted, the others hear of it.
    let store = g.database.store_of(8, quick());
    let answers = join_all((0..8).map(|_| async { store.submit(&again).await.unwrap() })).await;
    let first = answers
        .iter()
        .find_map(|a| match a {
            Admission::Accepted { job, charged, balance, .. } => Some((job.clone(), *charged, *balance)),
            _ => None,
        })
        .expect("one is accepted");
    assert_eq!(answers.iter().filter(|a| matches!(a, Admission::Accepted { .. })).count(), 1);
    // What happens to the job later does not change the answer.
    g.store.cancel(g.tenant, first.0.id).await.unwrap();
    let replayed = Admission::Replayed { job: first.0, charged: first.1, balance: first.2 };
    assert_eq!(g.store.submit(&again).await.unwrap(), replayed);
    assert_eq!(g.store.answered(g.tenant, &idempotency).await.unwrap(), Some(replayed));
    assert_eq!(g.balance().await, 10);

    let other = Idempotency::of("order-1", b"grace");
    let conflict = SubmitRequest { idempotency: Some(&other), ..request(g.key, "grace") };
    assert_eq!(g.store.submit(&conflict).await.unwrap(), Admission::IdempotencyConflict);
    assert_eq!(g.store.answered(g.tenant, &other).await.unwrap(), Some(Admission::IdempotencyConflict));

    let (stranger, key) = tenant(&g.store, Tier::Standard, 10).await;
    assert_eq!(g.store.answered(stranger, &idempotency).await.unwrap(), None);
    let theirs = SubmitRequest { idempotency: Some(&idempotency), ..request(key, "ada") };
    assert!(
        matches!(g.store.submit(&theirs).await.unwrap(), Admission::Accepted { .. }),
        "keys of two tenants do not meet"
    );

    g.database
        .client()
        .await
        .batch_execute("update switchyard.idempotency set created_at = now() - interval '25 hours'")
        .await
        .unwrap();
    assert!(
        matches!(g.store.submit(&conflict).await.unwrap(), Admission::Accepted { .. }),
        "keys are forgotten after a day"
    );
}

#[tokio::test]
async fn each_tier_pays_its_price_into_its_lane() {
    for (tier, price, lane) in [
        (Tier::Free, 1, Lane::Low),
        (Tier::Standard, 2, Lane::Normal),
        (Tier::Premium, 3, Lane::High),
        (Tier::Enterprise, 5, Lane::Critical),
    ] {
        let g = ground_with(tier, 100, Policy::default()).await;
        let job = g.submit("ada").await;
        assert_eq!((job.lane, g.balance().await), (lane, 100 - price), "{tier}");
    }
}
