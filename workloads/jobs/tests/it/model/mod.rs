//! The real SQL against a reference model: random operations by several hands, with tokens that hold and tokens that do not, done to both, which must
//! say, hold and tell the same after each.
//!
//! `SWITCHYARD_MODEL_CASES` sets how many sequences are tried, `SWITCHYARD_MODEL_SEED` which; a failure prints its seed and the shortest trace.

mod both;
mod ends;
mod observed;
mod operation;
mod outcome;
mod reference;
mod tenants;
mod world;

use std::env;

use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use rand::random;
use switchyard_jobs::testing::postgres;
use tokio::runtime::{Builder, Runtime};
use world::World;

/// Tries random sequences of operations on `world`, and answers the shortest trace found at whose end the two differ.
fn search(runtime: &Runtime, world: &World, seed: u64, cases: u32, shrinks: u32) -> Option<String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, max_shrink_iters: shrinks, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tried = runner.run(&vec(operation::operation(), 1..160), |operations| {
        runtime.block_on(world.check(&operations)).map_err(TestCaseError::fail)
    });
    match tried {
        Ok(()) => None,
        Err(TestError::Fail(why, _)) => Some(why.message().to_owned()),
        Err(TestError::Abort(why)) => panic!("the search was given up: {}", why.message()),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn whatever_is_done_in_whatever_order_the_database_does_what_the_reference_does() {
    let runtime = runtime();
    let world = runtime.block_on(async { World::new(postgres().await.database().await).await });
    let seed = setting("SWITCHYARD_MODEL_SEED").unwrap_or_else(random);
    let cases = setting("SWITCHYARD_MODEL_CASES").unwrap_or(24);
    if let Some(trace) = search(&runtime, &world, seed, cases, 2000) {
        panic!("SWITCHYARD_MODEL_SEED={seed}: after{trace}");
    }
}

/// Replaces `from` by `to` in a function of the schema, and has the search find that out.
fn is_noticed(function: &str, from: &str, to: &str) {
    let runtime = runtime();
    let world = runtime.block_on(async {
        let world = World::new(postgres().await.database().await).await;
        world.sabotage(function, from, to).await;
        world
    });
    assert!(search(&runtime, &world, 1, 200, 0).is_some(), "nobody noticed what was done to {function}");
}

#[test]
fn a_claim_that_takes_what_runs_is_noticed() {
    is_noticed("claim", "state in ('queued', 'retrying')", "state in ('queued', 'retrying', 'running')");
}

#[test]
fn a_claim_out_of_turn_is_noticed() {
    is_noticed("claim", "order by turn limit v_free", "order by turn desc limit v_free");
}

#[test]
fn a_claim_past_the_lane_s_places_is_noticed() {
    is_noticed("claim", "p_places - count(*)", "p_places + 1 - count(*)");
}

#[test]
fn a_claim_that_forgets_what_it_took_is_noticed() {
    is_noticed("claim", "if p_again then", "if false then");
}

#[test]
fn an_outcome_with_an_old_token_is_noticed() {
    is_noticed("complete_many", "and j.run_token = held.token", "and j.run_token is not null");
}

#[test]
fn a_heartbeat_with_an_old_token_is_noticed() {
    is_noticed("heartbeat", "and j.run_token = beat.token", "and j.run_token is not null");
}

#[test]
fn credits_that_go_back_twice_are_noticed() {
    let runtime = runtime();
    let world = runtime.block_on(async {
        let world = World::new(postgres().await.database().await).await;
        world.sabotage("cancel", "if j.finished_at is not null then", "if false then").await;
        world.execute("alter table switchyard.ledger drop constraint ledger_job_id_round_kind_key").await;
        world.sabotage("refund", "on conflict (job_id, round, kind) do nothing", "").await;
        world
    });
    assert!(search(&runtime, &world, 1, 200, 0).is_some(), "nobody noticed credits that went back twice");
}

#[test]
fn a_limit_that_is_overrun_by_one_is_noticed() {
    is_noticed("submit", "when running + n > concurrent", "when running + n > concurrent + 1");
}

#[test]
fn a_follower_that_is_left_behind_is_noticed() {
    is_noticed("promote", "set state = 'queued', leader_id = null", "set leader_id = null");
}

#[test]
fn a_child_that_outlives_its_parent_is_noticed() {
    is_noticed("cancel_below", "and j.finished_at is null", "and j.state = 'queued'");
}
