//! Random operations.

use std::collections::BTreeSet;

use proptest::prelude::*;
use switchyard_contract::{Kind, Lane};

/// Selects one item by its index, modulo their number.
#[derive(Debug, Clone, Copy)]
pub enum Pick {
    /// Among the items for which the operation is valid.
    Valid(u8),
    /// Among all items, the newest first.
    Any(u8),
}

#[derive(Debug, Clone)]
pub enum Operation {
    Submit {
        tenant: usize,
        username: u8,
        forced: bool,
        key: Option<u8>,
    },
    /// A claim whose first answer may be lost.
    Claim {
        kind: Kind,
        lane: Lane,
        limit: usize,
        lost: bool,
    },
    Heartbeat {
        claims: Vec<Pick>,
    },
    Progress {
        claim: Pick,
        percent: u8,
    },
    /// The lease expires.
    Expire {
        claim: Pick,
    },
    Reap,
    Spawn {
        claim: Pick,
        children: Vec<(Kind, bool)>,
    },
    Complete {
        claim: Pick,
        found: BTreeSet<u8>,
    },
    Fail {
        claim: Pick,
        permanent: bool,
    },
    Release {
        claim: Pick,
    },
    /// By the job's tenant, or by another one if `foreign`.
    Cancel {
        job: Pick,
        foreign: bool,
    },
    Replay {
        job: Pick,
    },
    Discard {
        job: Pick,
    },
    Pause {
        kind: Kind,
        lane: Lane,
        paused: bool,
    },
    Grant {
        tenant: usize,
        amount: i64,
    },
    /// Waiting retries become due. The answer is the claimable queues.
    MakeRetriesDue,
}

/// Tenants of the fixture.
pub const TENANTS: usize = 3;
const USERNAMES: u8 = 4;

fn pick() -> impl Strategy<Value = Pick> + Clone {
    prop_oneof![2 => (0..16_u8).prop_map(Pick::Valid), 1 => (0..16_u8).prop_map(Pick::Any)]
}

fn queue() -> impl Strategy<Value = (Kind, Lane)> + Clone {
    let kind = prop_oneof![3 => Just(Kind::General), 2 => Just(Kind::Ai), 1 => Just(Kind::Cdn)];
    (kind, prop_oneof![Just(Lane::Low), Just(Lane::Critical)])
}

pub fn operation() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let children = prop::collection::vec((prop_oneof![Just(Kind::Ai), Just(Kind::Cdn)], any::<bool>()), 0..4);
    let profiles = prop::collection::btree_set(0..USERNAMES + 2, 1..3);
    let found = prop_oneof![2 => Just(BTreeSet::new()), 1 => profiles];
    prop_oneof![
        6 => (0..TENANTS, 0..USERNAMES, prop::bool::weighted(0.2))
            .prop_map(|(tenant, username, forced)| O::Submit { tenant, username, forced, key: None }),
        // Idempotency keys, mostly with the same request.
        3 => (0..TENANTS, 0..2_u8, prop::bool::weighted(0.2))
            .prop_map(|(tenant, key, forced)| O::Submit { tenant, username: key, forced, key: Some(key) }),
        16 => (queue(), 1..5_usize, prop::bool::weighted(0.1))
            .prop_map(|((kind, lane), limit, lost)| O::Claim { kind, lane, limit, lost }),
        2 => prop::collection::vec(pick(), 1..8).prop_map(|claims| O::Heartbeat { claims }),
        2 => (pick(), 0..=100_u8).prop_map(|(claim, percent)| O::Progress { claim, percent }),
        4 => pick().prop_map(|claim| O::Expire { claim }),
        6 => Just(O::Reap),
        5 => (pick(), children).prop_map(|(claim, children)| O::Spawn { claim, children }),
        6 => (pick(), found).prop_map(|(claim, found)| O::Complete { claim, found }),
        5 => (pick(), prop::bool::weighted(0.3)).prop_map(|(claim, permanent)| O::Fail { claim, permanent }),
        4 => pick().prop_map(|claim| O::Release { claim }),
        2 => (pick(), prop::bool::weighted(0.1)).prop_map(|(job, foreign)| O::Cancel { job, foreign }),
        3 => pick().prop_map(|job| O::Replay { job }),
        1 => pick().prop_map(|job| O::Discard { job }),
        1 => (queue(), prop::bool::weighted(0.3)).prop_map(|((kind, lane), paused)| O::Pause { kind, lane, paused }),
        1 => (0..TENANTS, -10..10_i64).prop_map(|(tenant, amount)| O::Grant { tenant, amount }),
        2 => Just(O::MakeRetriesDue),
    ]
}
