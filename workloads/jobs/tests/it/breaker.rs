//! The circuit breaker: property tests of its state machine, and the breaker of a real PostgreSQL.

use std::time::Duration;

use proptest::prelude::*;
use switchyard_jobs::{
    model::TenantId,
    resilience::{
        Breaker, CallError, Permit, Policy,
        breaker::{Epoch, Machine, State},
    },
    store::{Store, StoreError},
    testing::{Postgres, postgres},
};
use tokio::time::Instant;

use crate::fixture::immediate_retries;

const POLICY: Policy = Policy { failures: 3, open_for: Duration::from_secs(30) };

/// An operation on a breaker. `call` selects a running call, modulo their number.
#[derive(Debug, Clone)]
enum Step {
    Admit,
    Finish { call: usize, success: Option<bool> },
    Record(bool),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Admit),
        4 => (any::<usize>(), prop::option::weighted(0.9, prop::bool::weighted(0.6))).prop_map(|(call, success)| Step::Finish { call, success }),
        1 => any::<bool>().prop_map(Step::Record),
        1 => (0u64..40).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn open_breaker_rejects_calls_and_half_open_admits_few(steps in steps()) {
        let mut now = Instant::now();
        let mut machine = Machine::new(POLICY);
        let mut running: Vec<(Epoch, State)> = Vec::new();
        let mut opened_at = None;
        for step in steps {
            let (before, openings) = (machine.state(now), machine.openings());
            match step {
                Step::Admit => match machine.admit(now) {
                    Ok(epoch) => {
                        prop_assert_ne!(before, State::Open);
                        running.push((epoch, machine.state(now)));
                        let probes = running.iter().filter(|(of, state)| *of == epoch && *state == State::HalfOpen).count();
                        prop_assert!(probes <= 16, "{probes} probes at once");
                    }
                    Err(open) => {
                        prop_assert_ne!(before, State::Closed);
                        prop_assert!(!open.retry_after.is_zero() && open.retry_after <= POLICY.open_for);
                    }
                },
                Step::Finish { call, success } if !running.is_empty() => {
                    let (epoch, _) = running.swap_remove(call % running.len());
                    machine.finish(epoch, success, now);
                }
                Step::Finish { .. } => {}
                Step::Record(success) => machine.record(success, now),
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            let after = machine.state(now);
            if machine.openings() > openings {
                prop_assert_eq!(machine.openings(), openings + 1);
                prop_assert_eq!(after, State::Open);
                opened_at = Some(now);
            } else {
                let passed = opened_at.is_some_and(|at| now - at >= POLICY.open_for);
                prop_assert!(after != State::Open || !passed, "open for longer than `open_for`");
                prop_assert!(before == State::Open || after != State::Open, "opened without being counted");
            }
        }
        // From any state: it closes after enough successes.
        now += POLICY.open_for;
        for (epoch, _) in running {
            machine.finish(epoch, None, now);
        }
        for _ in 0..31 {
            let epoch = machine.admit(now).expect("a half-open breaker without running calls admits one");
            machine.finish(epoch, Some(true), now);
        }
        prop_assert_eq!(machine.state(now), State::Closed);
    }

    #[test]
    fn breaker_opens_at_the_configured_consecutive_failure(calls in prop::collection::vec(any::<bool>(), 0..60)) {
        let now = Instant::now();
        let mut machine = Machine::new(POLICY);
        let mut in_a_row = 0;
        for success in calls {
            let epoch = machine.admit(now).expect("the breaker is closed");
            machine.finish(epoch, Some(success), now);
            in_a_row = if success { 0 } else { in_a_row + 1 };
            if in_a_row == POLICY.failures {
                prop_assert_eq!(machine.state(now), State::Open);
                return Ok(());
            }
            prop_assert_eq!(machine.state(now), State::Closed);
        }
    }
}

#[test]
fn each_policy_opens_after_its_failures_and_for_its_time() {
    for (policy, failures, seconds) in [(Policy::DATABASE, 3, 30), (Policy::EXTERNAL, 5, 60), (Policy::AI, 4, 120)] {
        let mut now = Instant::now();
        let mut machine = Machine::new(policy);
        for _ in 0..failures {
            let epoch = machine.admit(now).expect("the breaker is closed");
            machine.finish(epoch, Some(false), now);
        }
        now += Duration::from_millis(seconds * 1000 - 1);
        let open = machine.admit(now).expect_err("it is open until its time has passed");
        assert_eq!(open.retry_after, Duration::from_millis(1), "{policy:?}");
        now += Duration::from_millis(1);
        machine.admit(now).expect("a probe is admitted");
        machine.admit(now).expect_err("the second call waits for the probe");
    }
}

#[tokio::test]
async fn half_open_breaker_ramps_up_until_a_failure() {
    let breaker = Breaker::new("test", POLICY);
    for _ in 0..3 {
        let failed = breaker.call(async { Err::<(), _>("broken") }, |_| true).await;
        assert!(matches!(failed, Err(CallError::Failed("broken"))));
    }
    let open = breaker.admit().expect_err("three consecutive failures open the breaker");
    assert!(open.retry_after <= POLICY.open_for && open.retry_after > POLICY.open_for / 2, "{open:?}");

    breaker.record_success();
    let mut at_once = Vec::new();
    while breaker.state() == State::HalfOpen {
        let permits: Vec<_> = std::iter::from_fn(|| breaker.admit().ok()).collect();
        at_once.push(permits.len());
        permits.into_iter().for_each(Permit::succeeded);
    }
    assert_eq!(at_once, [1, 2, 4, 8, 16]);
    assert_eq!((breaker.state(), breaker.openings()), (State::Closed, 1));

    for _ in 0..3 {
        breaker.record_failure();
    }
    breaker.record_success();
    breaker.admit().unwrap().succeeded();
    breaker.admit().unwrap().failed();
    assert_eq!((breaker.state(), breaker.openings()), (State::Open, 3));
}

#[tokio::test]
async fn application_error_counts_as_success() {
    let breaker = Breaker::new("test", POLICY);
    for _ in 0..5 {
        let refused = breaker.call(async { Err::<(), _>("no such profile") }, |error| *error == "broken").await;
        assert!(matches!(refused, Err(CallError::Failed("no such profile"))));
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn outcome_of_a_call_from_an_earlier_epoch_is_ignored() {
    let breaker = Breaker::new("test", POLICY);
    let (old_success, old_failure) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    for _ in 0..3 {
        breaker.record_failure();
    }
    old_success.succeeded();
    assert_eq!(breaker.state(), State::Open, "a call from before the opening is ignored");
    breaker.record_success();
    assert_eq!(breaker.state(), State::HalfOpen, "a recorded success allows a probe");
    old_failure.failed();
    assert_eq!(breaker.state(), State::HalfOpen);
    drop(breaker.admit().unwrap());
    breaker.admit().expect("an abandoned call frees its permit").succeeded();
}

/// A store whose breaker was opened by the kill of its database, which runs again now.
async fn store_with_open_breaker() -> (Postgres, Store) {
    let server = Postgres::own(&["fsync=off"]).await;
    let store = server.bare_database().await.store(immediate_retries());
    store.now().await.unwrap();
    server.kill();
    let failure = loop {
        match store.now().await {
            Err(error) if store.breaker().state() == State::Closed => assert!(error.is_transient(), "{error}"),
            Err(error) => break error,
            Ok(at) => panic!("a killed database answers {at}"),
        }
    };
    assert!(failure.is_transient());
    assert_eq!((store.breaker().state(), store.breaker().openings()), (State::Open, 1));
    server.up().await;
    (server, store)
}

/// Checks that a store calls no database, although it would answer.
async fn assert_rejected(store: &Store) {
    let refused = store.now().await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains("circuit breaker")), "{refused}");
}

/// Closes a half-open breaker with one probe after the other.
async fn assert_closes(store: &Store) {
    for _ in 0..31 {
        store.now().await.expect("a half-open breaker admits one probe at a time");
    }
    assert_eq!((store.breaker().state(), store.breaker().openings()), (State::Closed, 1));
}

#[tokio::test]
async fn killed_database_opens_the_breaker_until_an_unguarded_call_succeeds() {
    let (server, store) = store_with_open_breaker().await;
    assert_rejected(&store).await;
    store.ping().await.expect("an unguarded call is made");
    assert_closes(&store).await;
    server.end();
}

#[tokio::test]
async fn killed_database_opens_the_breaker_for_thirty_seconds() {
    let (server, store) = store_with_open_breaker().await;
    let advance = async |time| {
        tokio::time::pause();
        tokio::time::advance(time).await;
        // With a paused clock, timeouts would end before the server answers.
        tokio::time::resume();
    };
    let left = store.breaker().retry_after().expect("it is open");
    assert!(left <= Duration::from_secs(30), "{left:?}");
    advance(left.saturating_sub(Duration::from_secs(1))).await;
    assert_rejected(&store).await;
    advance(Duration::from_secs(1)).await;
    assert_closes(&store).await;
    server.end();
}

#[tokio::test]
async fn refused_statement_does_not_open_the_breaker() {
    let store = postgres().await.bare_database().await.store(immediate_retries());
    for _ in 0..5 {
        let refused = store.tenant(TenantId(uuid::Uuid::nil())).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    }
    assert_eq!(store.breaker().state(), State::Closed);
}

#[tokio::test]
async fn timeout_waiting_for_a_connection_does_not_open_the_breaker() {
    let database = postgres().await.bare_database().await;
    let store = database.store_of(1, immediate_retries());
    let blocker = database.client().await;
    store.now().await.unwrap();
    // The store's only connection waits for a lock: other calls queue.
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
    assert!(matches!(busy.await.unwrap(), Err(StoreError::Unexpected(_))), "the stub returns no tenant");
}
