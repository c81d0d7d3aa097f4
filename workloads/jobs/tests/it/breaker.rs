//! The circuit breaker: its rules at random, and the one that guards a real PostgreSQL.

use std::time::Duration;

use proptest::prelude::*;
use switchyard_jobs::{
    model::TenantId,
    resilience::{
        Breaker, Broken, Permit, Policy,
        breaker::{Machine, State, Stretch},
    },
    store::StoreError,
    testing::{Postgres, postgres},
};
use tokio::time::Instant;

use crate::fixture::quick;

const POLICY: Policy = Policy { failures: 3, open_for: Duration::from_secs(30) };

/// What may happen to a breaker. Calls that run are taken by their number, modulo.
#[derive(Debug, Clone)]
enum Step {
    Ask,
    End { call: usize, success: Option<bool> },
    Told(bool),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        4 => (any::<usize>(), prop::option::weighted(0.9, prop::bool::weighted(0.6))).prop_map(|(call, success)| Step::End { call, success }),
        1 => any::<bool>().prop_map(Step::Told),
        1 => (0u64..40).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn an_open_breaker_lets_nothing_through_and_a_half_open_one_little(steps in steps()) {
        let mut now = Instant::now();
        let mut machine = Machine::new(POLICY);
        let mut running: Vec<(Stretch, State)> = Vec::new();
        let mut opened_at = None;
        for step in steps {
            let (before, openings) = (machine.state(now), machine.openings());
            match step {
                Step::Ask => match machine.admit(now) {
                    Ok(stretch) => {
                        prop_assert_ne!(before, State::Open);
                        running.push((stretch, machine.state(now)));
                        let probes = running.iter().filter(|(of, state)| *of == stretch && *state == State::HalfOpen).count();
                        prop_assert!(probes <= 16, "{probes} probes at once");
                    }
                    Err(open) => {
                        prop_assert_ne!(before, State::Closed);
                        prop_assert!(!open.retry_after.is_zero() && open.retry_after <= POLICY.open_for);
                    }
                },
                Step::End { call, success } if !running.is_empty() => {
                    let (stretch, _) = running.swap_remove(call % running.len());
                    machine.ended(stretch, success, now);
                }
                Step::End { .. } => {}
                Step::Told(success) => machine.told(success, now),
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            let after = machine.state(now);
            if machine.openings() > openings {
                prop_assert_eq!(machine.openings(), openings + 1);
                prop_assert_eq!(after, State::Open);
                opened_at = Some(now);
            } else {
                let passed = opened_at.is_some_and(|at| now - at >= POLICY.open_for);
                prop_assert!(after != State::Open || !passed, "open for longer than it may be");
                prop_assert!(before == State::Open || after != State::Open, "opened without being counted");
            }
        }
        // Wherever it is: once what it guards works, it closes.
        now += POLICY.open_for;
        for (stretch, _) in running {
            machine.ended(stretch, None, now);
        }
        for _ in 0..31 {
            let stretch = machine.admit(now).expect("with nothing running there is room for one");
            machine.ended(stretch, Some(true), now);
        }
        prop_assert_eq!(machine.state(now), State::Closed);
    }

    #[test]
    fn it_opens_at_the_failure_that_makes_them_enough_in_a_row(calls in prop::collection::vec(any::<bool>(), 0..60)) {
        let now = Instant::now();
        let mut machine = Machine::new(POLICY);
        let mut in_a_row = 0;
        for success in calls {
            let stretch = machine.admit(now).expect("it is closed");
            machine.ended(stretch, Some(success), now);
            in_a_row = if success { 0 } else { in_a_row + 1 };
            if in_a_row == POLICY.failures {
                prop_assert_eq!(machine.state(now), State::Open);
                return Ok(());
            }
            prop_assert_eq!(machine.state(now), State::Closed);
        }
    }
}

#[tokio::test]
async fn traffic_comes_back_step_by_step_and_one_failure_ends_that() {
    let breaker = Breaker::new("test", POLICY);
    for _ in 0..3 {
        let failed = breaker.call(async { Err::<(), _>("broken") }, |_| true).await;
        assert!(matches!(failed, Err(Broken::Failed("broken"))));
    }
    let open = breaker.admit().expect_err("three failures in a row let a fourth call through");
    assert!(open.retry_after <= POLICY.open_for && open.retry_after > POLICY.open_for / 2, "{open:?}");

    breaker.heard();
    let mut at_once = Vec::new();
    while breaker.state() == State::HalfOpen {
        let permits: Vec<_> = std::iter::from_fn(|| breaker.admit().ok()).collect();
        at_once.push(permits.len());
        permits.into_iter().for_each(Permit::succeeded);
    }
    assert_eq!(at_once, [1, 2, 4, 8, 16]);
    assert_eq!((breaker.state(), breaker.openings()), (State::Closed, 1));

    for _ in 0..3 {
        breaker.missed();
    }
    breaker.heard();
    breaker.admit().unwrap().succeeded();
    breaker.admit().unwrap().failed();
    assert_eq!((breaker.state(), breaker.openings()), (State::Open, 3));
}

#[tokio::test]
async fn an_answer_that_is_an_error_is_still_an_answer() {
    let breaker = Breaker::new("test", POLICY);
    for _ in 0..5 {
        let refused = breaker.call(async { Err::<(), _>("no such profile") }, |error| *error == "broken").await;
        assert!(matches!(refused, Err(Broken::Failed("no such profile"))));
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn what_a_call_from_before_has_to_tell_is_no_news_any_more() {
    let breaker = Breaker::new("test", POLICY);
    let (old_success, old_failure) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    for _ in 0..3 {
        breaker.missed();
    }
    old_success.succeeded();
    assert_eq!(breaker.state(), State::Open, "a call that was made before it broke shows nothing");
    breaker.heard();
    assert_eq!(breaker.state(), State::HalfOpen, "one that was made since shows that it is worth a try");
    old_failure.failed();
    assert_eq!(breaker.state(), State::HalfOpen);
    drop(breaker.admit().unwrap());
    breaker.admit().expect("a call that was given up leaves its place to the next").succeeded();
}

#[tokio::test]
async fn a_database_that_was_killed_is_left_alone_after_three_failures_and_asked_again_once_somebody_heard_of_it() {
    let server = Postgres::own(&["fsync=off"]).await;
    let store = server.bare_database().await.store(quick());
    store.now().await.unwrap();
    server.kill();
    let failure = loop {
        match store.now().await {
            Err(error) if store.breaker().state() == State::Closed => assert!(error.is_passing(), "{error}"),
            Err(error) => break error,
            Ok(at) => panic!("a dead database says that it is {at}"),
        }
    };
    assert!(failure.is_passing());
    assert_eq!((store.breaker().state(), store.breaker().openings()), (State::Open, 1));

    let began = Instant::now();
    let refused = store.now().await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains("circuit breaker")), "{refused}");
    assert!(began.elapsed() < Duration::from_millis(50), "it was asked all the same");

    server.up().await;
    store.now().await.expect_err("nobody knows yet");
    store.ping().await.expect("what asks no breaker gets through");
    for _ in 0..31 {
        store.now().await.expect("one after the other they are let through");
    }
    assert_eq!((store.breaker().state(), store.breaker().openings()), (State::Closed, 1));
    server.end();
}

#[tokio::test]
async fn a_statement_that_the_database_refuses_says_nothing_against_the_database() {
    let store = postgres().await.bare_database().await.store(quick());
    for _ in 0..5 {
        let refused = store.tenant(TenantId(uuid::Uuid::nil())).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    }
    assert_eq!(store.breaker().state(), State::Closed);
}

#[tokio::test]
async fn callers_who_wait_for_a_connection_in_vain_do_not_open_the_breaker() {
    let database = postgres().await.bare_database().await;
    let store = database.store_of(1, quick());
    let blocker = database.client().await;
    store.now().await.unwrap();
    // The store's one connection hangs on a lock that somebody else holds: the others queue.
    blocker
        .batch_execute(
            "create schema switchyard;
             create function switchyard.tenant_report(uuid) returns jsonb language sql as 'select to_jsonb(pg_advisory_xact_lock(1)::text)';
             select pg_advisory_lock(1)",
        )
        .await
        .unwrap();
    let busy = tokio::spawn({
        let store = store.clone();
        async move { store.tenant(TenantId(uuid::Uuid::nil())).await }
    });
    while database.client().await.query("select from pg_locks where not granted", &[]).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        let deadline = Instant::now() + Duration::from_millis(30);
        let waited = switchyard_jobs::resilience::deadline::scope(deadline, store.now()).await;
        assert!(matches!(waited, Err(StoreError::Unavailable(_))), "{waited:?}");
    }
    assert_eq!(store.breaker().state(), State::Closed);
    blocker.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    assert!(matches!(busy.await.unwrap(), Err(StoreError::Unexpected(_))), "that function knows no tenants");
}
