//! The life of a job: claim, heartbeat, progress, retry, cancellation, replay and pause.

use std::time::Duration;

use serde_json::json;
use switchyard_contract::{Kind, Lane, Retry, Tier};
use switchyard_jobs::{
    handler::Step,
    model::{JobError, JobState, Queue},
    store::{CancelOutcome, Claim, FailOutcome, ProgressReport, ReplayOutcome, ResultOutcome, RunKey},
};

use crate::fixture::{effects_of, fixture, fixture_with, immediate_retries, lease, transient_error};

/// The queue of a standard tenant's analyses.
const NORMAL: Queue = Queue { kind: Kind::General, lane: Lane::Normal };

#[tokio::test]
async fn job_is_claimed_once_and_completed() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    assert!(g.claim(job.id, Kind::Cdn).await.is_none(), "a worker of another kind cannot claim it");
    let claim = g.claim_analysis(job.id).await;
    assert!(g.claim(job.id, Kind::General).await.is_none(), "a claimed job is not claimable");
    assert_eq!((claim.job.attempt, claim.job.username.as_str(), claim.job.root), (1, "ada", job.id));
    assert!(matches!(claim.job.step, Step::Start));
    assert_eq!(claim.job.input["username"], "ada");
    assert!(matches!(g.store.result(g.tenant, job.id).await.unwrap(), ResultOutcome::NotFinished { .. }));

    let effects = g.store.complete(claim.run_key(), &json!({"answer": 42})).await.unwrap().expect("still held");
    assert_eq!((effects.events[0].state.as_str(), effects.events[0].progress), ("completed", 100));
    assert_eq!(g.job(job.id).await.state, JobState::Completed);
    let ResultOutcome::Finished { result, .. } = g.store.result(g.tenant, job.id).await.unwrap() else {
        panic!("no result")
    };
    assert_eq!(result, json!({"answer": 42}));
    let (latest, value) = g.store.latest_result(g.tenant, "ada").await.unwrap().expect("a result exists");
    assert_eq!((latest.id, value), (job.id, result));
    assert_eq!(g.store.usage(g.tenant).await.unwrap().unwrap().running, 0);
    assert_eq!(g.balance().await, 8, "a completed analysis is not refunded");
    assert!(g.store.complete(claim.run_key(), &json!({})).await.unwrap().is_none(), "an outcome is written only once");
    assert!(g.claim(job.id, Kind::General).await.is_none());
}

#[tokio::test]
async fn failed_attempt_waits_for_its_delay_and_the_last_one_refunds_once() {
    let mut policy = immediate_retries();
    policy.retry = Retry { delays_seconds: vec![0, 3600, 0] };
    let g = fixture_with(Tier::Standard, 10, policy).await;
    let job = g.submit("ada").await;

    let first = g.claim_analysis(job.id).await;
    let FailOutcome::Retrying { .. } = g.fail(&first, &transient_error()).await else { panic!("not retrying") };
    assert_eq!(g.job(job.id).await.state, JobState::Retrying);
    let second = g.claim_analysis(job.id).await;
    assert_eq!(second.job.attempt, 2);
    assert_ne!(first.token, second.token);
    let FailOutcome::Retrying { run_at, .. } = g.fail(&second, &transient_error()).await else {
        panic!("not retrying")
    };
    assert!((run_at - g.store.now().await.unwrap()).num_seconds() > 3500);
    assert!(g.claim(job.id, Kind::General).await.is_none(), "not due yet");
    g.database.client().await.batch_execute("update switchyard.jobs set run_at = now()").await.unwrap();

    let third = g.claim_analysis(job.id).await;
    let dead = g.fail(&third, &transient_error()).await;
    assert!(matches!(dead, FailOutcome::Dead { .. }));
    assert_eq!(effects_of(&dead).events[0].state, "dead");
    assert_eq!(g.balance().await, 10, "the credits are refunded");
    assert_eq!(g.fail(&third, &transient_error()).await, FailOutcome::Stale);
    assert_eq!(g.balance().await, 10, "the refund is not repeated");
    let listed = g.store.dead(10).await.unwrap();
    assert_eq!((listed.len(), listed[0].failures.len()), (1, 3));
    assert_eq!(listed[0].failures.iter().map(|f| f.attempt).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn permanent_error_kills_at_once_and_retry_after_extends_the_delay() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    let later = JobError { retry_after_seconds: Some(600), ..transient_error() };
    let FailOutcome::Retrying { run_at, .. } = g.fail(&claim, &later).await else { panic!("not retrying") };
    assert!((run_at - g.store.now().await.unwrap()).num_seconds() > 500);

    let job = g.submit("missing").await;
    let claim = g.claim_analysis(job.id).await;
    let error = JobError::permanent("profile-not-found", "there is no such profile");
    assert!(matches!(g.fail(&claim, &error).await, FailOutcome::Dead { .. }));
    assert_eq!(g.job(job.id).await.error, Some(error));
    assert_eq!(g.balance().await, 8, "only the dead analysis is refunded");
}

#[tokio::test]
async fn expired_lease_fails_the_attempt_and_invalidates_its_token() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    for attempt in 1..=3 {
        let claim = g.claim_analysis(job.id).await;
        assert_eq!(claim.job.attempt, attempt);
        assert_eq!(
            g.store.reap(claim.run_key(), true).await.unwrap().outcome,
            FailOutcome::Stale,
            "a valid lease is not reaped"
        );
        g.database
            .client()
            .await
            .batch_execute(
                "update switchyard.jobs set lease_until = now() - interval '1 second' where lease_until is not null",
            )
            .await
            .unwrap();
        assert_eq!(g.store.expired(10).await.unwrap(), [claim.run_key()]);
        assert_ne!(g.store.reap(claim.run_key(), true).await.unwrap().outcome, FailOutcome::Stale);
        assert_eq!(
            g.store.reap(claim.run_key(), true).await.unwrap().outcome,
            FailOutcome::Stale,
            "an attempt is reaped once"
        );
        // A slow worker comes back: its token is stale.
        assert!(g.store.complete(claim.run_key(), &json!({})).await.unwrap().is_none());
        assert_eq!(g.fail(&claim, &transient_error()).await, FailOutcome::Stale);
        assert!(g.store.release(claim.run_key()).await.unwrap().is_none());
        assert!(g.store.heartbeat(&[claim.run_key()], Duration::from_secs(30)).await.unwrap().is_empty());
        let report = ProgressReport { run_key: claim.run_key(), percent: 50, stage: "late".to_owned() };
        assert!(g.store.progress(&[report]).await.unwrap().is_empty());
    }
    let job = g.job(job.id).await;
    assert_eq!((job.state, job.error.unwrap().code.as_str()), (JobState::Dead, "lease-expired"));
    assert_eq!(g.balance().await, 10);
}

#[tokio::test]
async fn heartbeat_extends_all_leases_and_returns_the_claimed_jobs() {
    let g = fixture(Tier::Standard, 10).await;
    let (one, two) = (g.submit("one").await, g.submit("two").await);
    let (one, two) = (g.claim_analysis(one.id).await, g.claim_analysis(two.id).await);
    g.store.cancel(g.tenant, two.job.id).await.unwrap();
    let held = g.store.heartbeat(&[one.run_key(), two.run_key()], Duration::from_hours(1)).await.unwrap();
    assert_eq!(held, [one.job.id]);
    let until = g
        .database
        .client()
        .await
        .query_one(
            "select extract(epoch from lease_until - now())::float8 from switchyard.jobs where id = $1",
            &[&one.job.id.0],
        )
        .await
        .unwrap();
    assert!(until.get::<_, f64>(0) > 3500.0);
}

#[tokio::test]
async fn progress_only_increases_and_emits_events() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    let report = |percent, stage: &str| ProgressReport { run_key: claim.run_key(), percent, stage: stage.to_owned() };
    let effects = g.store.progress(&[report(30, "fetching")]).await.unwrap();
    assert_eq!((effects.events[0].progress, effects.events[0].stage.as_str()), (30, "fetching"));
    assert!(
        g.store.progress(&[report(20, "fetching")]).await.unwrap().is_empty(),
        "an unchanged report emits no event"
    );
    assert_eq!(g.store.progress(&[report(100, "more")]).await.unwrap().events[0].progress, 99, "100 is completion");
    let seqs: Vec<i64> = g.store.events_after(None, job.id, 0).await.unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

#[tokio::test]
async fn released_job_is_claimable_and_its_attempt_does_not_count() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    for _ in 0..5 {
        let claim = g.claim_analysis(job.id).await;
        assert_eq!(claim.job.attempt, 1);
        let effects = g.store.release(claim.run_key()).await.unwrap().expect("still held");
        assert_eq!(effects.ready, [NORMAL]);
        assert_eq!(g.job(job.id).await.state, JobState::Queued);
    }
    // After a failure the release restores the state `retrying`.
    let claim = g.claim_analysis(job.id).await;
    g.fail(&claim, &transient_error()).await;
    let claim = g.claim_analysis(job.id).await;
    g.store.release(claim.run_key()).await.unwrap().expect("still held");
    assert_eq!(g.claim_analysis(job.id).await.job.attempt, 2);
    g.assert_consistent().await;
}

#[tokio::test]
async fn cancelling_before_a_claim_refunds_the_price() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    let CancelOutcome::Cancelled { job, refunded, balance, effects } = g.store.cancel(g.tenant, job.id).await.unwrap()
    else {
        panic!("not cancelled");
    };
    assert_eq!((job.state, refunded, balance), (JobState::Cancelled, 2, 10));
    assert_eq!(effects.events[0].state, "cancelled");
    assert!(matches!(g.store.cancel(g.tenant, job.id).await.unwrap(), CancelOutcome::AlreadyEnded { .. }));
    assert_eq!(g.balance().await, 10);
    assert!(g.claim(job.id, Kind::General).await.is_none());
}

#[tokio::test]
async fn cancelling_after_a_claim_fences_the_worker_without_a_refund() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    let CancelOutcome::Cancelled { refunded, .. } = g.store.cancel(g.tenant, job.id).await.unwrap() else { panic!() };
    assert_eq!((refunded, g.balance().await), (0, 8));
    assert!(g.store.complete(claim.run_key(), &json!({})).await.unwrap().is_none());
    assert_eq!(g.job(job.id).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn another_tenant_sees_and_cancels_nothing() {
    let g = fixture(Tier::Standard, 10).await;
    let (other_tenant, _) = crate::fixture::tenant(&g.store, Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    assert_eq!(g.store.job(other_tenant, job.id).await.unwrap(), None);
    assert_eq!(g.store.cancel(other_tenant, job.id).await.unwrap(), CancelOutcome::NotFound);
    assert_eq!(g.store.result(other_tenant, job.id).await.unwrap(), ResultOutcome::NotFound);
    assert!(g.store.events_after(Some(other_tenant), job.id, 0).await.unwrap().is_empty());
    let claim = g.claim_analysis(job.id).await;
    g.store.complete(claim.run_key(), &json!({})).await.unwrap();
    assert_eq!(g.store.latest_result(other_tenant, "ada").await.unwrap(), None);
}

#[tokio::test]
async fn replaying_a_dead_analysis_charges_again_and_starts_over() {
    let g = fixture(Tier::Standard, 3).await;
    let job = g.submit("ada").await;
    assert!(matches!(g.store.replay(job.id).await.unwrap(), ReplayOutcome::NotDead { .. }));
    let claim = g.claim_analysis(job.id).await;
    g.fail(&claim, &JobError::permanent("broken", "no")).await;
    assert_eq!(g.balance().await, 3);

    let ReplayOutcome::Replayed { charged, balance, effects, .. } = g.store.replay(job.id).await.unwrap() else {
        panic!()
    };
    assert_eq!((charged, balance), (2, 1));
    assert_eq!(effects.ready, [NORMAL]);
    assert!(g.store.dead(10).await.unwrap().is_empty());
    let claim = g.claim_analysis(job.id).await;
    assert_eq!(claim.job.attempt, 1);
    g.fail(&claim, &JobError::permanent("broken", "no")).await;
    assert_eq!(g.balance().await, 3, "each round is refunded");

    g.store.grant_credits(g.tenant, -2, "spent elsewhere").await.unwrap();
    assert_eq!(g.store.replay(job.id).await.unwrap(), ReplayOutcome::InsufficientCredits { balance: 1, price: 2 });
    assert!(g.store.discard(job.id).await.unwrap());
    assert!(!g.store.discard(job.id).await.unwrap());
    assert!(g.store.dead(10).await.unwrap().is_empty());
    assert!(matches!(g.store.replay(job.id).await.unwrap(), ReplayOutcome::NotDead { .. }));
}

#[tokio::test]
async fn paused_lane_has_no_claims_until_resumed() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    assert!(g.store.pause(Kind::General, Lane::Normal, true).await.unwrap().is_empty());
    assert!(g.claim(job.id, Kind::General).await.is_none());
    let lanes = g.store.lanes().await.unwrap();
    assert_eq!(lanes.len(), 16);
    let lane = lanes.iter().find(|l| l.kind == Kind::General && l.lane == Lane::Normal).unwrap();
    assert!(lane.paused);
    assert_eq!((lane.depth, lane.running), (1, 0));
    let woken = g.store.pause(Kind::General, Lane::Normal, false).await.unwrap();
    assert_eq!(woken, [NORMAL]);
    g.claim_analysis(job.id).await;
}

#[tokio::test]
async fn one_of_many_concurrent_claims_succeeds() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    let store = g.database.store_of(16, immediate_retries());
    let claims =
        futures::future::join_all((0..32).map(|_| async { store.claim(NORMAL, 4, &lease()).await.unwrap() })).await;
    let claimed: Vec<RunKey> = claims.iter().flatten().map(Claim::run_key).collect();
    assert_eq!(claimed.iter().map(|run_key| run_key.job).collect::<Vec<_>>(), [job.id]);
}

#[tokio::test]
async fn replay_respects_the_concurrent_limit() {
    let g = fixture(Tier::Free, 10).await;
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    g.fail(&claim, &JobError::permanent("broken", "no")).await;
    g.submit("bob").await;
    let last = g.submit("eve").await;
    let refused = g.store.replay(job.id).await.unwrap();
    assert!(matches!(refused, ReplayOutcome::ConcurrentLimit { limit: 2, retry_after: 1..=60 }), "{refused:?}");
    assert_eq!(g.balance().await, 8);
    g.store.cancel(g.tenant, last.id).await.unwrap();
    assert!(matches!(g.store.replay(job.id).await.unwrap(), ReplayOutcome::Replayed { .. }));
    g.assert_consistent().await;
}
