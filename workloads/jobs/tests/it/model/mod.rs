//! The SQL functions compared with a reference model.
//!
//! Random operations, with valid and stale tokens, run on both. After each one, answers, table
//! contents and events must be equal.
//!
//! `SWITCHYARD_MODEL_CASES` sets the number of sequences and `SWITCHYARD_MODEL_SEED` the seed. A
//! failure prints its seed and the shortest trace.

mod admission;
mod apply;
mod ends;
mod fixture;
mod job;
mod operation;
mod outcome;
mod reference;
mod tables;
mod tenant;

use std::env;

use fixture::Fixture;
use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use rand::random;
use switchyard_jobs::testing::postgres;
use tokio::runtime::{Builder, Runtime};

/// Runs random sequences of operations on `fixture`. Returns the shortest trace that it finds after
/// which database and reference differ.
fn search(runtime: &Runtime, fixture: &Fixture, seed: u64, cases: u32, shrinks: u32) -> Option<String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, max_shrink_iters: shrinks, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tried = runner.run(&vec(operation::operation(), 1..160), |operations| {
        runtime.block_on(fixture.check(&operations)).map_err(TestCaseError::fail)
    });
    match tried {
        Ok(()) => None,
        Err(TestError::Fail(why, _)) => Some(why.message().to_owned()),
        Err(TestError::Abort(why)) => panic!("search aborted: {}", why.message()),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn random_operations_match_the_reference_model() {
    let runtime = runtime();
    let fixture = runtime.block_on(async { Fixture::new(postgres().await.database().await).await });
    let seed = setting("SWITCHYARD_MODEL_SEED").unwrap_or_else(random);
    let cases = setting("SWITCHYARD_MODEL_CASES").unwrap_or(24);
    if let Some(trace) = search(&runtime, &fixture, seed, cases, 2000) {
        panic!("SWITCHYARD_MODEL_SEED={seed}: after{trace}");
    }
}

/// Replaces `from` by `to` in a function of the schema, and checks that the search detects the
/// change.
fn detects(function: &str, from: &str, to: &str) {
    let runtime = runtime();
    let fixture = runtime.block_on(async {
        let fixture = Fixture::new(postgres().await.database().await).await;
        fixture.sabotage(function, from, to).await;
        fixture
    });
    assert!(search(&runtime, &fixture, 1, 200, 0).is_some(), "the search did not detect the change of {function}");
}

#[test]
fn detects_a_claim_of_a_running_job() {
    detects("claim", "state in ('queued', 'retrying')", "state in ('queued', 'retrying', 'running')");
}

#[test]
fn detects_a_claim_out_of_turn() {
    detects("claim", "order by turn limit v_free", "order by turn desc limit v_free");
}

#[test]
fn detects_a_claim_over_the_maximum_of_the_lane() {
    detects("claim", "p_max_running - count(*)", "p_max_running + 1 - count(*)");
}

#[test]
fn detects_a_repeated_claim_that_takes_more_jobs() {
    detects("claim", "if p_again then", "if false then");
}

#[test]
fn detects_an_outcome_with_a_stale_token() {
    detects("complete_many", "and j.run_token = claim.token", "and j.run_token is not null");
}

#[test]
fn detects_a_heartbeat_with_a_stale_token() {
    detects("heartbeat", "and j.run_token = beat.token", "and j.run_token is not null");
}

#[test]
fn detects_a_double_refund() {
    let runtime = runtime();
    let fixture = runtime.block_on(async {
        let fixture = Fixture::new(postgres().await.database().await).await;
        fixture.sabotage("cancel", "if j.finished_at is not null then", "if false then").await;
        fixture.execute("alter table switchyard.ledger drop constraint ledger_job_id_round_kind_key").await;
        fixture.sabotage("refund", "on conflict (job_id, round, kind) do nothing", "").await;
        fixture
    });
    assert!(search(&runtime, &fixture, 1, 200, 0).is_some(), "the search did not detect the double refund");
}

#[test]
fn detects_a_limit_exceeded_by_one() {
    detects("submit", "when running + n > concurrent", "when running + n > concurrent + 1");
}

#[test]
fn detects_a_follower_that_is_not_promoted() {
    detects("promote", "set state = 'queued', leader_id = null", "set leader_id = null");
}

#[test]
fn detects_a_child_that_outlives_its_parent() {
    detects("cancel_below", "and j.finished_at is null", "and j.state = 'queued'");
}
