//! Admission of analyses: limits, charges, idempotency, shared pipelines and turns.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use switchyard_contract::{Kind, Lane, Tier};
use switchyard_jobs::{
    handler::Child,
    model::{JobError, JobState, Queue},
    store::{
        Admission, CancelOutcome, Claim, Idempotency, KeyHash, Lease, Policy, ProgressReport, ResultOutcome,
        SubmitRequest,
    },
    testing::postgres,
};

use crate::fixture::{fixture, fixture_with, immediate_retries, lease, request, tenant, transient_error};

const CRITICAL: Queue = Queue { kind: Kind::General, lane: Lane::Critical };

#[tokio::test]
async fn accepted_analysis_is_stored_charged_and_announced() {
    let g = fixture(Tier::Standard, 10).await;
    let Admission::Accepted { job, charged, balance, effects, coalesced: false } =
        g.store.submit(request(g.key, "ada")).await.unwrap()
    else {
        panic!("not accepted");
    };
    assert_eq!((charged, balance, g.balance().await), (2, 8, 8));
    assert_eq!((job.state, job.lane, job.attempt, job.username.as_str()), (JobState::Queued, Lane::Normal, 0, "ada"));
    assert_eq!(g.store.job(g.tenant, job.id).await.unwrap(), Some(job.clone()));
    assert_eq!(effects.ready, [Queue { kind: Kind::General, lane: Lane::Normal }]);
    assert!(effects.events.is_empty(), "a new job has no watchers");
    let events = g.store.events_after(Some(g.tenant), job.id, 0).await.unwrap();
    assert_eq!(events.iter().map(|e| (e.seq, e.state.as_str())).collect::<Vec<_>>(), [(1, "queued")]);
    let usage = g.store.usage(g.tenant).await.unwrap().unwrap();
    assert_eq!((usage.running, usage.today, usage.credits), (1, 1, 8));
}

#[tokio::test]
async fn unknown_or_revoked_key_is_unauthenticated() {
    let g = fixture(Tier::Free, 10).await;
    let unknown = KeyHash::of("sk_unknown");
    assert_eq!(g.store.submit(request(unknown, "ada")).await.unwrap(), Admission::Unauthenticated);
    assert_eq!(g.store.authenticate(unknown).await.unwrap(), None);
    assert_eq!(g.store.authenticate(g.key).await.unwrap().unwrap().id, g.tenant);

    let second = g.store.create_key(g.tenant).await.unwrap().unwrap();
    let hash = KeyHash::of(secrecy::ExposeSecret::expose_secret(&second.secret));
    assert!(g.store.revoke_key(g.tenant, second.id).await.unwrap());
    assert!(g.store.revoke_key(g.tenant, second.id).await.unwrap(), "revoking is idempotent");
    assert_eq!(g.store.submit(request(hash, "ada")).await.unwrap(), Admission::Unauthenticated);
    assert_eq!(g.store.authenticate(hash).await.unwrap(), None);
}

#[tokio::test]
async fn insufficient_credits_are_refused_without_a_charge() {
    let g = fixture(Tier::Standard, 3).await;
    g.submit("one").await;
    let refused = g.store.submit(request(g.key, "two")).await.unwrap();
    assert_eq!(refused, Admission::InsufficientCredits { balance: 1, price: 2 });
    assert_eq!(g.balance().await, 1);
    assert_eq!(g.store.grant_credits(g.tenant, 5, "gift").await.unwrap(), Some(Ok(6)));
    assert_eq!(g.store.grant_credits(g.tenant, -7, "too much").await.unwrap(), Some(Err(6)));
    g.submit("two").await;
    assert_eq!(g.balance().await, 4);
}

#[tokio::test]
async fn concurrent_submits_get_exactly_the_concurrent_limit() {
    for (tier, limit) in [(Tier::Free, 2), (Tier::Standard, 5), (Tier::Premium, 10), (Tier::Enterprise, 20)] {
        let g = fixture(tier, 1000).await;
        let store = g.database.store_of(12, immediate_retries());
        let names: Vec<String> = (0..3 * limit).map(|n| format!("user{n}")).collect();
        let submits = names.iter().map(|name| async { store.submit(request(g.key, name)).await.unwrap() });
        let (mut accepted, mut refused) = (0, 0);
        for answer in join_all(submits).await {
            match answer {
                Admission::Accepted { .. } => accepted += 1,
                Admission::ConcurrentLimit { limit: reported, retry_after: 1..=60 } => {
                    assert_eq!(reported, limit);
                    refused += 1;
                }
                other => panic!("{tier}: {other:?}"),
            }
        }
        assert_eq!((accepted, refused), (limit, 2 * limit), "{tier}");
        assert_eq!(g.balance().await, 1000 - i64::from(limit * g.store.policy().tiers.get(tier).price), "{tier}");
    }
}

#[tokio::test]
async fn daily_limit_counts_accepted_analyses_of_the_utc_day() {
    let mut policy = immediate_retries();
    policy.tiers.standard.daily = Some(3);
    let g = fixture_with(Tier::Standard, 100, policy).await;
    for name in ["a", "b", "c"] {
        let job = g.submit(name).await;
        g.store.cancel(g.tenant, job.id).await.unwrap();
    }
    let Admission::DailyLimit { limit, resets_at } = g.store.submit(request(g.key, "d")).await.unwrap() else {
        panic!("not refused");
    };
    assert_eq!(limit, 3);
    let wait = resets_at - g.store.now().await.unwrap();
    assert!(wait.num_seconds() >= 0 && wait.num_hours() < 24);
    assert_eq!(resets_at.format("%H:%M:%S").to_string(), "00:00:00");
    // The next day.
    g.database.client().await.batch_execute("update switchyard.tenants set day = day - 1").await.unwrap();
    assert_eq!(g.store.usage(g.tenant).await.unwrap().unwrap().today, 0);
    g.submit("d").await;
    assert_eq!(g.store.usage(g.tenant).await.unwrap().unwrap().today, 1);
}

#[tokio::test]
async fn full_lane_refuses_without_a_charge_and_is_never_exceeded() {
    let mut policy = immediate_retries();
    policy.lanes.low.capacity = 10;
    policy.tiers.free.concurrent = 1;
    let database = postgres().await.database().await;
    let store = database.store_of(20, policy);
    let mut tenants = Vec::new();
    for _ in 0..16 {
        tenants.push(tenant(&store, Tier::Free, 5).await);
    }
    let answers =
        join_all(tenants.iter().map(|(_, key)| async { store.submit(request(*key, "ada")).await.unwrap() })).await;
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
async fn idempotency_key_replays_its_first_answer_and_refuses_another_request() {
    let g = fixture(Tier::Standard, 10).await;
    let idempotency = Idempotency::of("order-1", b"ada");
    let again = SubmitRequest { idempotency: Some(idempotency.clone()), ..request(g.key, "ada") };
    // Concurrent requests: one is accepted, the others get its answer.
    let store = g.database.store_of(8, immediate_retries());
    let answers = join_all((0..8).map(|_| async { store.submit(again.clone()).await.unwrap() })).await;
    let first = answers
        .iter()
        .find_map(|a| match a {
            Admission::Accepted { job, charged, balance, .. } => Some((job.clone(), *charged, *balance)),
            _ => None,
        })
        .expect("one is accepted");
    assert_eq!(answers.iter().filter(|a| matches!(a, Admission::Accepted { .. })).count(), 1);
    // Later changes of the job do not change the answer.
    g.store.cancel(g.tenant, first.0.id).await.unwrap();
    let replayed = Admission::Replayed { job: first.0, charged: first.1, balance: first.2 };
    assert_eq!(g.store.submit(again.clone()).await.unwrap(), replayed);
    assert_eq!(g.store.answered(g.tenant, &idempotency).await.unwrap(), Some(replayed));
    assert_eq!(g.balance().await, 10);

    let other = Idempotency::of("order-1", b"grace");
    let conflict = SubmitRequest { idempotency: Some(other.clone()), ..request(g.key, "grace") };
    assert_eq!(g.store.submit(conflict.clone()).await.unwrap(), Admission::IdempotencyConflict);
    assert_eq!(g.store.answered(g.tenant, &other).await.unwrap(), Some(Admission::IdempotencyConflict));

    let (other_tenant, key) = tenant(&g.store, Tier::Standard, 10).await;
    assert_eq!(g.store.answered(other_tenant, &idempotency).await.unwrap(), None);
    let theirs = SubmitRequest { idempotency: Some(idempotency.clone()), ..request(key, "ada") };
    assert!(
        matches!(g.store.submit(theirs.clone()).await.unwrap(), Admission::Accepted { .. }),
        "a key belongs to its tenant"
    );

    g.database
        .client()
        .await
        .batch_execute("update switchyard.idempotency set created_at = now() - interval '25 hours'")
        .await
        .unwrap();
    assert!(
        matches!(g.store.submit(conflict.clone()).await.unwrap(), Admission::Accepted { .. }),
        "a key expires after a day"
    );
}

#[tokio::test]
async fn each_tier_has_its_price_and_lane() {
    for (tier, price, lane) in [
        (Tier::Free, 1, Lane::Low),
        (Tier::Standard, 2, Lane::Normal),
        (Tier::Premium, 3, Lane::High),
        (Tier::Enterprise, 5, Lane::Critical),
    ] {
        let g = fixture_with(tier, 100, Policy::default()).await;
        let job = g.submit("ada").await;
        assert_eq!((job.lane, g.balance().await), (lane, 100 - price), "{tier}");
    }
}

#[tokio::test]
async fn analyses_of_a_profile_in_flight_share_one_pipeline_and_each_is_charged() {
    let g = fixture(Tier::Standard, 10).await;
    let (friend, friends_key) = tenant(&g.store, Tier::Free, 10).await;
    let leader = g.submit("ada").await;
    let Admission::Accepted { job: mine, charged: 2, coalesced: true, effects, .. } =
        g.store.submit(request(g.key, "ada")).await.unwrap()
    else {
        panic!("not shared")
    };
    assert!(effects.ready.is_empty(), "a follower has no ticket");
    let claim = g.claim_analysis(leader.id).await;
    assert_eq!(claim.effects.events.len(), 2, "leader and follower have an event");
    // A free tenant, whose lane has a lower priority, may share the pipeline.
    let Admission::Accepted { job: theirs, charged: 1, coalesced: true, .. } =
        g.store.submit(request(friends_key, "ada")).await.unwrap()
    else {
        panic!("not shared")
    };
    assert_eq!((g.job(mine.id).await.state, g.job(theirs.id).await.state), (JobState::Waiting, JobState::Queued));
    let report = ProgressReport { run_key: claim.run_key(), percent: 40, stage: "fetching".to_owned() };
    assert_eq!(g.store.progress(&[report]).await.unwrap().events.len(), 3);
    assert_eq!(g.job(theirs.id).await.progress, 40);
    let effects = g.store.complete_analysis(claim.run_key(), &json!({"n": 1})).await.unwrap().expect("held");
    assert_eq!(effects.events.len(), 3);
    for (tenant, job) in [(g.tenant, leader.id), (g.tenant, mine.id), (friend, theirs.id)] {
        let ResultOutcome::Finished { result, .. } = g.store.result(tenant, job).await.unwrap() else {
            panic!("no result")
        };
        assert_eq!(result, json!({"n": 1}));
        let events = g.store.events_after(Some(tenant), job, 0).await.unwrap();
        assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (1_i64..).take(events.len()).collect::<Vec<_>>());
        assert_eq!(events.last().unwrap().state, "completed");
    }
    assert_eq!(g.balance().await, 6);
    assert_eq!(g.store.tenant(friend).await.unwrap().unwrap().credits, 9);
}

#[tokio::test]
async fn analysis_never_shares_a_pipeline_in_a_lower_lane() {
    let g = fixture(Tier::Free, 10).await;
    let (payer, enterprise) = tenant(&g.store, Tier::Enterprise, 10).await;
    let low = g.submit("ada").await;
    let claim = g.claim_analysis(low.id).await;
    let Admission::Accepted { job, coalesced: false, .. } = g.store.submit(request(enterprise, "ada")).await.unwrap()
    else {
        panic!("it shares a pipeline whose children run in the low lane")
    };
    assert_eq!(job.lane, Lane::Critical);
    // The same holds once the low analysis is queued again.
    g.store.release(claim.run_key()).await.unwrap().expect("held");
    g.store.cancel(payer, job.id).await.unwrap();
    assert!(matches!(
        g.store.submit(request(enterprise, "ada")).await.unwrap(),
        Admission::Accepted { coalesced: false, .. }
    ));
}

#[tokio::test]
async fn followers_share_a_permanent_error_and_outlive_any_other_end() {
    let g = fixture(Tier::Enterprise, 100).await;
    let shared = |name: &'static str| async {
        match g.store.submit(request(g.key, name)).await.unwrap() {
            Admission::Accepted { job, coalesced: true, .. } => job.id,
            other => panic!("not shared: {other:?}"),
        }
    };
    // Cancellation: the next follower leads, and the last one follows it.
    let leader = g.submit("ada").await.id;
    let (second, third) = (shared("ada").await, shared("ada").await);
    assert!(g.claim(second, Kind::General).await.is_none(), "a follower is not claimable");
    let CancelOutcome::Cancelled { refunded: 5, effects, .. } = g.store.cancel(g.tenant, leader).await.unwrap() else {
        panic!("not cancelled")
    };
    assert_eq!(effects.ready, [Queue { kind: Kind::General, lane: Lane::Critical }]);
    // Death by transient errors: the next follower leads.
    for _ in 0..3 {
        let claim = g.claim_analysis(second).await;
        g.fail(&claim, &transient_error()).await;
    }
    assert_eq!((g.job(second).await.state, g.job(third).await.state), (JobState::Dead, JobState::Queued));
    // A permanent error ends all followers.
    let (fourth, fifth) = (shared("ada").await, shared("ada").await);
    let CancelOutcome::Cancelled { refunded: 5, .. } = g.store.cancel(g.tenant, fifth).await.unwrap() else {
        panic!("not cancelled")
    };
    let claim = g.claim_analysis(third).await;
    g.fail(&claim, &JobError::permanent("profile-not-found", "no such profile")).await;
    assert_eq!((g.job(third).await.state, g.job(fourth).await.state), (JobState::Dead, JobState::Dead));
    assert_eq!(g.balance().await, 100, "all charges are refunded");
}

#[tokio::test]
async fn forced_or_higher_lane_analysis_gets_its_own_pipeline() {
    let g = fixture(Tier::Standard, 10).await;
    let (_, premium) = tenant(&g.store, Tier::Premium, 10).await;
    g.submit("ada").await;
    let own = |answer| matches!(answer, Admission::Accepted { coalesced: false, .. });
    let fresh = SubmitRequest { force_refresh: true, ..request(g.key, "ada") };
    assert!(own(g.store.submit(fresh.clone()).await.unwrap()));
    assert!(own(g.store.submit(request(premium, "ada")).await.unwrap()), "the other analysis waits in a lower lane");
}

#[tokio::test]
async fn tenants_take_turns_in_a_lane_that_one_of_them_floods() {
    let g = fixture(Tier::Enterprise, 1000).await;
    let (other, key) = tenant(&g.store, Tier::Enterprise, 1000).await;
    for n in 0..20 {
        g.submit(&format!("flood{n}")).await;
    }
    for n in 0..3 {
        let Admission::Accepted { .. } = g.store.submit(request(key, &format!("drop{n}"))).await.unwrap() else {
            panic!("not accepted")
        };
    }
    let mut turns = Vec::new();
    for _ in 0..7 {
        let claim = g.store.claim(CRITICAL, 1, &lease()).await.unwrap().pop().expect("a job is claimable");
        g.store.complete_analysis(claim.run_key(), &json!({})).await.unwrap().expect("held");
        turns.push(if claim.job.tenant == other { 'd' } else { 'f' });
    }
    assert_eq!(turns.iter().collect::<String>(), "fdfdfdf");
}

#[tokio::test]
async fn lane_never_exceeds_its_maximum_on_the_platform() {
    let g = fixture(Tier::Enterprise, 1000).await;
    for n in 0..8 {
        g.submit(&format!("user{n}")).await;
    }
    let store = g.database.store_of(8, immediate_retries());
    let claims = join_all((0..8).map(|_| async { store.claim(CRITICAL, 2, &lease()).await.unwrap() })).await;
    let mut held: Vec<_> = claims.into_iter().flatten().collect();
    assert_eq!(held.len(), 3, "the maximum of the critical lane");
    // A waiting analysis counts against the maximum until it ends. Its end makes the queue ready.
    let claim = held.pop().unwrap();
    let children = [Child { kind: Kind::Ai, input: json!({}), required: true }];
    g.store.spawn(claim.run_key(), &json!({}), &children, "analysing").await.unwrap().expect("held");
    assert!(store.claim(CRITICAL, 2, &lease()).await.unwrap().is_empty());
    assert!(
        store.claimable_queues(Duration::ZERO).await.unwrap().iter().all(|(queue, _)| *queue != CRITICAL),
        "a lane at its maximum needs no tickets"
    );
    let ended = g.store.complete_analysis(held.pop().unwrap().run_key(), &json!({})).await.unwrap().expect("held");
    assert_eq!(ended.ready, [CRITICAL]);
    assert_eq!(
        store.claimable_queues(Duration::ZERO).await.unwrap().iter().find(|(queue, _)| *queue == CRITICAL),
        Some(&(CRITICAL, 1))
    );
    assert_eq!(store.claim(CRITICAL, 2, &lease()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn repeated_claim_returns_the_jobs_of_the_first() {
    let g = fixture(Tier::Enterprise, 1000).await;
    g.submit("ada").await;
    g.submit("bob").await;
    let lease = lease();
    let lost = g.store.claim(CRITICAL, 1, &lease).await.unwrap();
    let again = g.store.claim(CRITICAL, 1, &Lease { again: true, ..lease }).await.unwrap();
    assert_eq!(
        again.iter().map(Claim::run_key).collect::<Vec<_>>(),
        lost.iter().map(Claim::run_key).collect::<Vec<_>>()
    );
    assert_eq!(again[0].job.attempt, 1);
}

#[tokio::test]
async fn locked_tenant_does_not_delay_other_tenants() {
    let g = fixture(Tier::Standard, 10).await;
    let (_, key) = tenant(&g.store, Tier::Standard, 10).await;
    let mut client = g.database.client().await;
    let holder = client.transaction().await.unwrap();
    holder.query("select from switchyard.tenants where id = $1 for update", &[&g.tenant.0]).await.unwrap();
    let (one, two) = (request(g.key, "held"), request(g.key, "held too"));
    let held = join_all([g.store.submit(one), g.store.submit(two)]);
    tokio::pin!(held);
    let others = async {
        for n in 0..20 {
            let answer = g.store.submit(request(key, &format!("free{n}"))).await.unwrap();
            assert!(matches!(answer, Admission::Accepted { .. } | Admission::ConcurrentLimit { .. }));
        }
    };
    tokio::select! {
        _ = &mut held => panic!("answered although the row is locked"),
        () = others => {}
    }
    holder.rollback().await.unwrap();
    assert!(held.await.into_iter().all(|answer| matches!(answer, Ok(Admission::Accepted { .. }))));
    g.assert_consistent().await;
}
