//! Children of an analysis: joins, failures, cancellation, discovery and corrections.

use std::time::Duration;

use serde_json::json;
use switchyard_contract::{Kind, Lane, Retry, Tier};
use switchyard_jobs::{
    handler::{Child, Step},
    model::{JobError, JobId, JobState, Origin, Queue, TenantId},
    store::{Admission, Claim, JobFilter, Policy, ResultOutcome},
};

use crate::fixture::{Fixture, fixture, fixture_with, immediate_retries, request, tenant, transient_error};

fn child(kind: Kind, required: bool) -> Child {
    Child { kind, input: json!({"of": kind.as_str()}), required }
}

/// An analysis that waits for an ai child (required) and a cdn child (optional).
async fn waiting(g: &Fixture) -> (JobId, JobId, JobId) {
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    let children = [child(Kind::Ai, true), child(Kind::Cdn, false)];
    let effects =
        g.store.spawn(claim.run_key(), &json!({"kept": 1}), &children, "analysing").await.unwrap().expect("held");
    assert_eq!(effects.ready.iter().map(|queue| queue.kind).collect::<Vec<_>>(), [Kind::Ai, Kind::Cdn]);
    assert!(effects.ready.iter().all(|queue| queue.lane == Lane::Normal), "children run in their parent's lane");
    assert_eq!((effects.events[0].state.as_str(), effects.events[0].stage.as_str()), ("running", "analysing"));
    assert!(g.claim(job.id, Kind::General).await.is_none(), "a waiting parent is not claimable");
    let children = g.children(job.id).await;
    (job.id, children[0], children[1])
}

async fn complete(g: &Fixture, id: JobId, kind: Kind) -> switchyard_jobs::model::Effects {
    let claim = g.claim(id, kind).await.expect("claimable");
    g.store.complete(claim.run_key(), &json!({"by": kind.as_str()})).await.unwrap().expect("held")
}

fn join(claim: &Claim) -> (&serde_json::Value, &[switchyard_jobs::handler::ChildResult]) {
    match &claim.job.step {
        Step::Join { kept, children } => (kept, children),
        Step::Start => panic!("not a join"),
    }
}

#[tokio::test]
async fn last_child_wakes_its_parent_with_all_results_in_order() {
    let g = fixture(Tier::Standard, 10).await;
    let (root, ai, cdn) = waiting(&g).await;
    let effects = complete(&g, cdn, Kind::Cdn).await;
    assert!(effects.ready.is_empty());
    assert_eq!(effects.events[0].job, root);
    let halfway = effects.events[0].progress;
    let effects = complete(&g, ai, Kind::Ai).await;
    assert_eq!(effects.ready, [Queue { kind: Kind::General, lane: Lane::Normal }]);
    assert!(effects.events[0].progress > halfway, "progress increases as children end");

    let claim = g.claim_analysis(root).await;
    let (kept, children) = join(&claim);
    assert_eq!(kept, &json!({"kept": 1}));
    assert_eq!(children.iter().map(|c| c.kind).collect::<Vec<_>>(), [Kind::Ai, Kind::Cdn]);
    assert_eq!(children[0].result, Ok(json!({"by": "ai"})));
    assert_eq!(children[1].input, json!({"of": "cdn"}));
    g.store.complete(claim.run_key(), &json!({"done": true})).await.unwrap().expect("held");
    assert_eq!(g.job(root).await.progress, 100);
    assert_eq!(g.balance().await, 8);
}

#[tokio::test]
async fn parent_survives_the_death_of_an_optional_child() {
    let g = fixture(Tier::Standard, 10).await;
    let (root, ai, cdn) = waiting(&g).await;
    complete(&g, ai, Kind::Ai).await;
    let claim = g.claim(cdn, Kind::Cdn).await.expect("claimable");
    let error = JobError::permanent("gone", "the image is gone");
    g.fail(&claim, &error).await;
    let claim = g.claim_analysis(root).await;
    assert_eq!(join(&claim).1[1].result, Err(error));
    g.assert_consistent().await;
}

#[tokio::test]
async fn death_of_a_required_child_ends_the_analysis_and_refunds_it() {
    let g = fixture(Tier::Standard, 10).await;
    let (root, ai, cdn) = waiting(&g).await;
    let running = g.claim(cdn, Kind::Cdn).await.expect("claimable");
    for _ in 0..3 {
        let claim = g.claim(ai, Kind::Ai).await.expect("claimable");
        g.fail(&claim, &transient_error()).await;
    }
    let dead = g.job(root).await;
    assert_eq!((dead.state, dead.error), (JobState::Dead, Some(transient_error())));
    assert_eq!(g.job(cdn).await.state, JobState::Cancelled, "its siblings are cancelled");
    assert!(g.store.complete(running.run_key(), &json!({})).await.unwrap().is_none());
    assert_eq!(g.balance().await, 10);
    let listed = g.store.dead(10).await.unwrap();
    assert_eq!((listed[0].children.len(), listed[0].children[0].failures.len()), (1, 3));
}

#[tokio::test]
async fn cancelling_an_analysis_cancels_its_children() {
    let g = fixture(Tier::Standard, 10).await;
    let (root, ai, cdn) = waiting(&g).await;
    let running = g.claim(ai, Kind::Ai).await.expect("claimable");
    g.store.cancel(g.tenant, root).await.unwrap();
    for child in [ai, cdn] {
        assert_eq!(g.job(child).await.state, JobState::Cancelled);
    }
    assert!(g.store.complete(running.run_key(), &json!({})).await.unwrap().is_none());
    g.assert_consistent().await;
}

#[tokio::test]
async fn failed_join_is_retried_as_a_join() {
    let g = fixture(Tier::Standard, 10).await;
    let (root, ai, cdn) = waiting(&g).await;
    complete(&g, ai, Kind::Ai).await;
    complete(&g, cdn, Kind::Cdn).await;
    let claim = g.claim_analysis(root).await;
    g.fail(&claim, &transient_error()).await;
    let claim = g.claim_analysis(root).await;
    assert_eq!((claim.job.attempt, join(&claim).1.len()), (2, 2));
    g.store.release(claim.run_key()).await.unwrap().expect("held");
    assert_eq!(join(&g.claim_analysis(root).await).1.len(), 2);
}

#[tokio::test]
async fn spawning_no_children_joins_at_once() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    let effects = g.store.spawn(claim.run_key(), &json!(7), &[], "joining").await.unwrap().expect("held");
    assert_eq!(effects.ready, [Queue { kind: Kind::General, lane: Lane::Normal }]);
    let claim = g.claim_analysis(job.id).await;
    let (kept, children) = join(&claim);
    assert_eq!((kept, children.len()), (&json!(7), 0));
}

#[tokio::test]
async fn discovered_profiles_are_free_and_within_the_limits_of_the_tenant() {
    let mut policy = immediate_retries();
    policy.tiers.standard.daily = Some(4);
    let g = fixture_with(Tier::Standard, 10, policy).await;
    g.submit("known").await;
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    let found: Vec<String> = ["known", "bob", "eve", "mallory"].map(str::to_owned).to_vec();
    let effects = g.store.complete_and_discover(claim.run_key(), &json!({}), &found).await.unwrap().expect("held");
    let low = Queue { kind: Kind::General, lane: Lane::Low };
    assert_eq!(
        effects.ready.iter().filter(|queue| **queue == low).count(),
        2,
        "'known' is in progress, and the daily limit allows two more"
    );
    let discovered = JobFilter { lane: Some(Lane::Low), limit: 50, discovered: true, ..JobFilter::default() };
    let found = g.store.jobs(g.tenant, &discovered).await.unwrap().jobs.pop().expect("two profiles are queued");
    assert_eq!((found.origin, found.username.as_str()), (Origin::Discovery, "bob"));
    let usage = g.store.usage(g.tenant).await.unwrap().unwrap();
    assert_eq!((usage.running, usage.today, g.balance().await), (1, 2, 6));

    let mine = g.store.jobs(g.tenant, &JobFilter { limit: 50, ..JobFilter::default() }).await.unwrap();
    assert_eq!(mine.jobs.len(), 2, "discovered analyses are listed on request only");
    let all = g.store.jobs(g.tenant, &JobFilter { limit: 50, discovered: true, ..JobFilter::default() }).await.unwrap();
    assert_eq!(all.jobs.len(), 4);

    let claim = g.claim_analysis(found.id).await;
    assert_eq!(claim.job.input["depth"], 1);
    g.fail(&claim, &JobError::permanent("no", "no")).await;
    assert_eq!(g.balance().await, 6, "a free analysis is not refunded");
}

/// Completes an analysis for now. Returns it, its follower and the claimable correction.
async fn complete_for_now(g: &Fixture) -> (JobId, JobId, JobId) {
    let job = g.submit("ada").await;
    let (other, key) = tenant(&g.store, Tier::Standard, 10).await;
    let follower = match g.store.submit(request(key, "ada")).await.unwrap() {
        Admission::Accepted { job, coalesced: true, .. } => job,
        other => panic!("not coalesced: {other:?}"),
    };
    assert_ne!(other, g.tenant);
    let claim = g.claim_analysis(job.id).await;
    let done =
        g.store.complete_for_now(claim.run_key(), &json!("rules"), &json!({"kept": 1}), Duration::ZERO).await.unwrap();
    assert!(done.expect("held").events.iter().any(|event| event.job == follower.id && event.state == "completed"));
    let corrections = g.children(job.id).await;
    assert_eq!(corrections.len(), 1);
    (job.id, follower.id, corrections[0])
}

async fn result(g: &Fixture, tenant: TenantId, id: JobId) -> serde_json::Value {
    match g.store.result(tenant, id).await.unwrap() {
        ResultOutcome::Finished { result, .. } => result,
        other => panic!("no result: {other:?}"),
    }
}

#[tokio::test]
async fn correction_replaces_the_result_for_all_followers_free_of_charge() {
    let g = fixture(Tier::Standard, 10).await;
    let (root, follower, correction) = complete_for_now(&g).await;
    let theirs = g.job(follower).await.tenant;
    for (tenant, id) in [(g.tenant, root), (theirs, follower)] {
        assert_eq!(result(&g, tenant, id).await, json!("rules"));
    }
    let seen = g.job(correction).await;
    assert_eq!((seen.parent, seen.lane, seen.kind), (Some(root), Lane::Low, Kind::General));

    // A correction may have children, like any analysis. It emits no events.
    let claim = g.claim_analysis(correction).await;
    assert!(claim.job.corrects && claim.effects.events.is_empty());
    assert_eq!(claim.job.input, json!({"kept": 1}));
    g.store.spawn(claim.run_key(), &json!(2), &[child(Kind::Ai, true)], "correcting").await.unwrap().expect("held");
    let child_job = g.children(correction).await[0];
    assert_eq!(g.job(child_job).await.lane, Lane::Low);
    complete(&g, child_job, Kind::Ai).await;
    let claim = g.claim_analysis(correction).await;
    assert_eq!(join(&claim).1.len(), 1);
    let effects = g.store.complete(claim.run_key(), &json!("model")).await.unwrap().expect("held");
    assert!(effects.is_empty());

    for (tenant, id) in [(g.tenant, root), (theirs, follower)] {
        assert_eq!(result(&g, tenant, id).await, json!("model"));
        assert_eq!(g.job(id).await.state, JobState::Completed);
    }
    assert_eq!(g.balance().await, 8);
    let listed =
        g.store.jobs(g.tenant, &JobFilter { limit: 50, discovered: true, ..JobFilter::default() }).await.unwrap();
    assert_eq!(listed.jobs.len(), 1, "a correction is not listed as an analysis");
}

#[tokio::test]
async fn correction_waits_for_its_time_and_its_death_keeps_the_result() {
    let g = fixture(Tier::Standard, 10).await;
    let later = g.submit("bob").await;
    let claim = g.claim_analysis(later.id).await;
    let hour = Duration::from_hours(1);
    g.store.complete_for_now(claim.run_key(), &json!({}), &json!({}), hour).await.unwrap().expect("held");
    assert!(
        g.claim(g.children(later.id).await[0], Kind::General).await.is_none(),
        "a correction is not claimable before it is due"
    );
    assert!(
        g.store.complete_for_now(claim.run_key(), &json!({}), &json!({}), hour).await.unwrap().is_none(),
        "an analysis completes once"
    );
    assert_eq!(g.children(later.id).await.len(), 1);

    let (root, _, correction) = complete_for_now(&g).await;
    for _ in 0..3 {
        let claim = g.claim_analysis(correction).await;
        g.fail(&claim, &transient_error()).await;
    }
    assert_eq!((g.job(correction).await.state, g.job(root).await.state), (JobState::Dead, JobState::Completed));
    assert_eq!(result(&g, g.tenant, root).await, json!("rules"));
    assert_eq!(g.balance().await, 6);
}

#[tokio::test]
async fn corrections_do_not_count_against_the_capacity_of_their_lane() {
    let mut policy = immediate_retries();
    policy.lanes.low.capacity = 1;
    policy.tiers.standard.lane = Lane::Low;
    let g = fixture_with(Tier::Standard, 100, policy).await;
    for username in ["ada", "bob", "eve"] {
        let job = g.submit(username).await;
        let claim = g.claim_analysis(job.id).await;
        g.store.complete_for_now(claim.run_key(), &json!({}), &json!({}), Duration::ZERO).await.unwrap().expect("held");
    }
    g.submit("mallory").await;
    let full = g.store.submit(request(g.key, "trent")).await.unwrap();
    assert!(matches!(full, Admission::LaneFull { .. }), "{full:?}");
}

#[tokio::test]
async fn service_time_of_a_lane_excludes_the_time_of_children() {
    let g = fixture(Tier::Standard, 10).await;
    let service = async |kind: Kind| {
        let lanes = g.store.lanes().await.unwrap();
        lanes.iter().find(|l| (l.kind, l.lane) == (kind, Lane::Normal)).unwrap().service_seconds
    };
    assert_eq!(service(Kind::General).await, None, "no job has ended yet");
    let (root, ai, cdn) = waiting(&g).await;
    complete(&g, ai, Kind::Ai).await;
    complete(&g, cdn, Kind::Cdn).await;
    let claim = g.claim_analysis(root).await;
    g.store.complete(claim.run_key(), &json!({})).await.unwrap().expect("held");
    // The analysis takes ten seconds; its children run during five of them.
    let client = g.database.client().await;
    let moved = "update switchyard.jobs set started_at = day - make_interval(secs => $2), finished_at = day - make_interval(secs => $3),
        created_at = day - make_interval(secs => $2) from (values (timestamptz '2026-01-02Z')) as d (day) where id = $1";
    for (job, started, ended) in [(root, 10.0_f64, 0.0_f64), (ai, 8.0, 4.0), (cdn, 7.0, 3.0)] {
        client.execute(moved, &[&job.0, &started, &ended]).await.unwrap();
    }
    assert_eq!(service(Kind::General).await, Some(5.0));
    assert_eq!((service(Kind::Ai).await, service(Kind::Cdn).await), (Some(4.0), Some(4.0)));
    assert_eq!(service(Kind::Discovery).await, None);
}

#[tokio::test]
async fn lane_statistics_count_retries_that_are_due_soon() {
    let policy = Policy { retry: Retry { delays_seconds: vec![30, 300, 300] }, ..immediate_retries() };
    let g = fixture_with(Tier::Standard, 10, policy).await;
    let due = async || {
        let lanes = g.store.lanes().await.unwrap();
        let lane = lanes.iter().find(|l| (l.kind, l.lane) == (Kind::General, Lane::Normal)).unwrap();
        (lane.depth, lane.retrying, lane.due_soon)
    };
    let job = g.submit("ada").await;
    let claim = g.claim_analysis(job.id).await;
    g.fail(&claim, &transient_error()).await;
    assert_eq!(due().await, (0, 1, 1));
    let client = g.database.client().await;
    client.execute("update switchyard.jobs set run_at = now() + interval '2 minutes'", &[]).await.unwrap();
    assert_eq!(due().await, (0, 1, 0));
}
