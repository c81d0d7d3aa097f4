//! Database-connection arithmetic, pure.
//!
//! A platform has `maxConnections`. Each database role has a row of them, which PostgreSQL enforces; what no row claims is reserve. A pod's
//! connections follow from its row and from the number of pods that the row is planned for, not from how many there are right now: scaling
//! changes no pod template. What does not fit is refused with the arithmetic, the younger pool first.

use std::{collections::BTreeMap, fmt};

use switchyard_contract::{ConnectionPool, Role};

use crate::{crd::Connections, spec::defaults::SURGE};

/// Connections that belong to no workload: setup, administration, and what PostgreSQL keeps for superusers.
pub const KEPT: u32 = 10;
/// The platform's documented number of connections; default rows are in proportion to it.
pub const DEFAULT_MAX: u32 = 500;

/// A share of the connections, for all pods of a workload together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub size: u32,
    pub overflow: u32,
    pub wait_timeout_seconds: u64,
    pub statement_timeout_seconds: u64,
}

impl Share {
    /// Connections, overflow included.
    pub const fn total(&self) -> u32 {
        self.size.saturating_add(self.overflow)
    }

    /// The documented row of `role`, in proportion to `max` connections.
    pub fn default_of(role: Role, max: u32) -> Self {
        let (size, overflow, wait_timeout_seconds, statement_timeout_seconds) = match role {
            Role::Api => (100, 50, 2, 10),
            Role::Workers => (80, 20, 30, 300),
            Role::AiWorkers => (30, 10, 60, 600),
            Role::Discovery => (20, 5, 45, 300),
        };
        let part = |of: u64| u32::try_from(of * u64::from(max) / u64::from(DEFAULT_MAX)).unwrap_or(u32::MAX);
        Self { size: part(size).max(1), overflow: part(overflow), wait_timeout_seconds, statement_timeout_seconds }
    }
}

/// Pods that a role's row is planned for, where no `scaling.max` says it.
const fn planned_pods(role: Role) -> u32 {
    match role {
        Role::Api => 10 + SURGE,
        Role::Workers => 20,
        Role::AiWorkers | Role::Discovery => 10,
    }
}

/// What the API asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiDemand {
    /// Its row.
    pub share: Share,
    /// Most pods at once, surge included.
    pub pods_at_most: u32,
    /// Most pods, surge included, that scaling may ever ask for; none when nothing scales it.
    pub bound: Option<u32>,
}

/// What a pool asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolDemand {
    pub name: String,
    /// When it was made, in any unit that orders; the younger gives way.
    pub age_order: i64,
    pub role: Role,
    /// Most pods at once, surge included.
    pub pods_at_most: u32,
    /// Most pods, surge included, that scaling may ever ask for; none when nothing scales it.
    pub bound: Option<u32>,
    /// A share of its own, instead of the role's row.
    pub share: Option<Share>,
}

/// A row of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    pub role: Role,
    pub size: u32,
    pub overflow: u32,
    pub statement_timeout_seconds: u64,
    /// Pods that were granted connections, at most, surge included.
    pub pods_at_most: u32,
    /// What those pods may hold at most.
    pub used_at_most: u32,
}

impl Allocation {
    /// The role's `CONNECTION LIMIT`.
    pub const fn total(&self) -> u32 {
        self.size.saturating_add(self.overflow)
    }
}

/// Why something does not fit, with the arithmetic and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who gets what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub allocations: Vec<Allocation>,
    /// What one pod of the API may hold.
    pub api: Result<ConnectionPool, Refusal>,
    /// What one pod of each pool may hold, by the pool's name.
    pub pools: BTreeMap<String, Result<ConnectionPool, Refusal>>,
    /// Whether all rows together fit, with the arithmetic either way.
    pub verdict: Result<String, Refusal>,
}

/// Divides `max` connections.
pub fn divide(max: u32, api: &ApiDemand, pools: &[PoolDemand]) -> Budget {
    let mut allocations = vec![Allocation::of(Role::Api, api.share)];
    allocations.extend(
        [Role::Workers, Role::AiWorkers, Role::Discovery]
            .map(|role| Allocation::of(role, Share::default_of(role, max))),
    );

    let api_grant = grant_api(api, &mut allocations[0]);
    let mut granted = BTreeMap::new();
    let mut in_order: Vec<&PoolDemand> = pools.iter().collect();
    in_order.sort_by(|a, b| (a.age_order, &a.name).cmp(&(b.age_order, &b.name)));
    // What the pools without a share of their own have taken of their row so far.
    let mut taken: BTreeMap<Role, u32> = BTreeMap::new();
    for pool in in_order {
        let grant = match pool.share {
            Some(share) => grant_own(pool, share, max, &mut allocations),
            None => grant_shared(
                pool,
                Share::default_of(pool.role, max),
                taken.entry(pool.role).or_default(),
                &mut allocations,
            ),
        };
        granted.insert(pool.name.clone(), grant);
    }
    let verdict = verdict(max, &allocations);
    Budget { allocations, api: api_grant, pools: granted, verdict }
}

impl Allocation {
    const fn of(role: Role, share: Share) -> Self {
        Self {
            role,
            size: share.size,
            overflow: share.overflow,
            statement_timeout_seconds: share.statement_timeout_seconds,
            pods_at_most: 0,
            used_at_most: 0,
        }
    }

    fn take(&mut self, pods: u32, per_pod: u32) {
        self.pods_at_most += pods;
        self.used_at_most = self.used_at_most.saturating_add(pods.saturating_mul(per_pod));
    }
}

/// A pod's part of `share`: `total` connections, of which as many last as in the share.
fn pool_of(share: Share, total: u32) -> ConnectionPool {
    let lasting = (u64::from(total) * u64::from(share.size)).div_ceil(u64::from(share.total().max(1)));
    let size = u32::try_from(lasting).unwrap_or(total).clamp(1, total.max(1));
    ConnectionPool {
        size,
        overflow: total.saturating_sub(size),
        wait_timeout_seconds: share.wait_timeout_seconds,
        statement_timeout_seconds: share.statement_timeout_seconds,
    }
}

fn grant_api(api: &ApiDemand, allocation: &mut Allocation) -> Result<ConnectionPool, Refusal> {
    let planned = api.bound.unwrap_or_else(|| planned_pods(Role::Api).max(api.pods_at_most)).max(1);
    let per_pod = (api.share.total() / planned).max(1);
    if api.pods_at_most.saturating_mul(per_pod) > api.share.total() {
        return Err(Refusal(format!(
            "the API may have {} pods at once ({SURGE} of them during a rollout) and its row holds {} connections, which is less than one each: \
             raise spec.api.connections or have fewer pods",
            api.pods_at_most,
            api.share.total(),
        )));
    }
    allocation.take(api.pods_at_most, per_pod);
    Ok(pool_of(api.share, per_pod))
}

/// A pool that shares its role's row with the others.
fn grant_shared(
    pool: &PoolDemand,
    share: Share,
    taken: &mut u32,
    allocations: &mut [Allocation],
) -> Result<ConnectionPool, Refusal> {
    let per_pod = (share.total() / planned_pods(pool.role)).max(1);
    let needs = pool.pods_at_most.saturating_mul(per_pod);
    if taken.saturating_add(needs) > share.total() {
        let left = share.total() - *taken;
        return Err(Refusal(format!(
            "{} pods at most ({SURGE} of them during a rollout) x {per_pod} connections = {needs}, and older pools leave {left} of the {} of {}: \
             at most {} pods fit. Have fewer replicas, or give the pool a share of its own in spec.connections",
            pool.pods_at_most,
            share.total(),
            pool.role,
            (left / per_pod).saturating_sub(SURGE),
        )));
    }
    *taken += needs;
    if let Some(allocation) = allocations.iter_mut().find(|allocation| allocation.role == pool.role) {
        allocation.take(pool.pods_at_most, per_pod);
    }
    Ok(pool_of(share, per_pod))
}

/// A pool with a share of its own, which is added to its role's row and comes out of the reserve.
fn grant_own(
    pool: &PoolDemand,
    share: Share,
    max: u32,
    allocations: &mut [Allocation],
) -> Result<ConnectionPool, Refusal> {
    let planned = pool.bound.unwrap_or_else(|| planned_pods(pool.role)).max(1);
    let per_pod = (share.total() / planned).max(1);
    let needs = pool.pods_at_most.saturating_mul(per_pod);
    if needs > share.total() {
        return Err(Refusal(format!(
            "{} pods at most ({SURGE} of them during a rollout) x {per_pod} connections = {needs}, and spec.connections gives the pool {}: \
             raise it, or have fewer replicas",
            pool.pods_at_most,
            share.total(),
        )));
    }
    let claimed: u32 = allocations.iter().map(Allocation::total).sum();
    let reserve = max.saturating_sub(claimed.saturating_add(KEPT));
    if share.total() > reserve {
        return Err(Refusal(format!(
            "spec.connections asks for {} connections of a reserve of {reserve} ({max} in all, {claimed} in rows, {KEPT} kept for setup and administration): \
             lower it, or raise spec.database.maxConnections of the platform",
            share.total(),
        )));
    }
    if let Some(allocation) = allocations.iter_mut().find(|allocation| allocation.role == pool.role) {
        allocation.size += share.size;
        allocation.overflow += share.overflow;
        allocation.statement_timeout_seconds =
            allocation.statement_timeout_seconds.max(share.statement_timeout_seconds);
        allocation.take(pool.pods_at_most, per_pod);
    }
    Ok(pool_of(share, per_pod))
}

fn verdict(max: u32, allocations: &[Allocation]) -> Result<String, Refusal> {
    let words: Vec<String> = allocations
        .iter()
        .map(|allocation| format!("{} {}+{}", allocation.role, allocation.size, allocation.overflow))
        .collect();
    let claimed: u32 = allocations.iter().map(Allocation::total).sum();
    let needs = claimed.saturating_add(KEPT);
    let sum = format!("rows {} and {KEPT} kept for setup and administration make {needs}", words.join(", "));
    if needs > max {
        Err(Refusal(format!(
            "{sum} of {max}: raise spec.database.maxConnections, or lower spec.api.connections or the pools' spec.connections"
        )))
    } else {
        Ok(format!("{sum} of {max}; {} in reserve", max - needs))
    }
}

pub fn share(default: Share, over: Option<&Connections>) -> Share {
    let over = over.cloned().unwrap_or_default();
    Share {
        size: over.size.map_or(default.size, count),
        overflow: over.overflow.map_or(default.overflow, count),
        wait_timeout_seconds: over.wait_timeout.map_or(default.wait_timeout_seconds, |wait| wait.0),
        statement_timeout_seconds: over.statement_timeout.map_or(default.statement_timeout_seconds, |limit| limit.0),
    }
}

/// The schema lets no negative number through; should one come, it counts as none.
pub fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn api(pods: u32) -> ApiDemand {
        ApiDemand { share: Share::default_of(Role::Api, 500), pods_at_most: pods, bound: None }
    }

    fn pool(name: &str, role: Role, pods: u32) -> PoolDemand {
        PoolDemand { name: name.into(), age_order: 0, role, pods_at_most: pods, bound: None, share: None }
    }

    fn share(size: u32) -> Share {
        Share { size, overflow: 0, wait_timeout_seconds: 1, statement_timeout_seconds: 1 }
    }

    #[test]
    fn the_documented_rows_leave_a_reserve() {
        let budget = divide(
            500,
            &api(2),
            &[pool("general", Role::Workers, 2), pool("cdn", Role::Workers, 2), pool("ai", Role::AiWorkers, 2)],
        );
        let totals: Vec<u32> = budget.allocations.iter().map(Allocation::total).collect();
        assert_eq!(totals, [150, 100, 40, 25]);
        assert!(
            budget.verdict.as_ref().is_ok_and(|words| words.ends_with("make 325 of 500; 175 in reserve")),
            "{:?}",
            budget.verdict
        );
        assert_eq!(budget.api.map(|grant| (grant.size, grant.overflow)), Ok((9, 4)));
        assert_eq!(budget.pools["general"].as_ref().map(|grant| (grant.size, grant.overflow)), Ok((4, 1)));
        assert_eq!(budget.pools["ai"].as_ref().map(|grant| (grant.size, grant.overflow)), Ok((3, 1)));
        assert_eq!((budget.allocations[1].pods_at_most, budget.allocations[1].used_at_most), (4, 20));
    }

    #[test]
    fn a_small_database_gets_small_rows() {
        let budget = divide(50, &ApiDemand { share: Share::default_of(Role::Api, 50), ..api(2) }, &[]);
        assert_eq!(budget.allocations.iter().map(Allocation::total).collect::<Vec<_>>(), [15, 10, 4, 2]);
        assert!(budget.verdict.is_ok());
    }

    #[test]
    fn the_younger_of_two_pools_that_do_not_fit_together_says_why() {
        let older = PoolDemand { age_order: 1, ..pool("z-older", Role::Workers, 15) };
        let younger = PoolDemand { age_order: 2, ..pool("a-younger", Role::Workers, 7) };
        let budget = divide(500, &api(2), &[younger, older]);
        assert!(budget.pools["z-older"].is_ok());
        let Err(Refusal(words)) = &budget.pools["a-younger"] else { panic!("7 x 5 of 25 were granted") };
        assert!(
            words.contains("7 pods at most")
                && words.contains("x 5 connections = 35")
                && words.contains("leave 25 of the 100"),
            "{words}"
        );
        assert!(words.contains("at most 4 pods fit"), "{words}");
    }

    #[test]
    fn a_share_of_its_own_comes_out_of_the_reserve() {
        let own = PoolDemand { share: Some(share(60)), bound: Some(6), ..pool("own", Role::Discovery, 4) };
        let budget = divide(500, &api(2), std::slice::from_ref(&own));
        assert_eq!(budget.pools["own"].as_ref().map(|grant| grant.size), Ok(10));
        assert_eq!(budget.allocations[3].total(), 85);
        let greedy = PoolDemand { share: Some(share(200)), ..own };
        let budget = divide(500, &api(2), &[greedy]);
        assert!(
            budget.pools["own"].as_ref().is_err_and(|Refusal(words)| words.contains("reserve of 175")),
            "{:?}",
            budget.pools
        );
        assert!(budget.verdict.is_ok(), "what was refused takes nothing");
    }

    #[test]
    fn rows_that_do_not_fit_are_refused_with_the_sum() {
        let budget = divide(100, &ApiDemand { share: share(90), pods_at_most: 2, bound: None }, &[]);
        assert!(
            budget.verdict.is_err_and(|Refusal(words)| words.contains("make 133 of 100")),
            "{:?}",
            budget.allocations
        );
    }

    proptest! {
        #[test]
        fn nothing_granted_ever_passes_a_row(max in 10u32..2000, api_pods in 1u32..50, pools in prop::collection::vec((0usize..3, 1u32..40, prop::option::of(1u32..200), any::<bool>()), 0..12)) {
            let api = ApiDemand { share: Share::default_of(Role::Api, max), pods_at_most: api_pods, bound: None };
            let pools: Vec<PoolDemand> = pools.into_iter().enumerate().map(|(i, (role, pods, own, bounded))| PoolDemand {
                age_order: i as i64,
                share: own.map(share),
                bound: bounded.then_some(pods),
                ..pool(&format!("p{i}"), [Role::Workers, Role::AiWorkers, Role::Discovery][role], pods)
            }).collect();
            let budget = divide(max, &api, &pools);
            for allocation in &budget.allocations {
                prop_assert!(allocation.used_at_most <= allocation.total(), "{allocation:?}");
                let sum: u32 = pools.iter().filter(|p| p.role == allocation.role).filter_map(|p| Some(p.pods_at_most * budget.pools[&p.name].as_ref().ok()?.total())).sum();
                prop_assert!(allocation.role == Role::Api || sum == allocation.used_at_most);
            }
            prop_assert!(budget.pools.values().flatten().chain(budget.api.iter()).all(|grant| grant.size >= 1));
        }

        #[test]
        fn scaling_a_pool_changes_nobodys_connections(before in 1u32..30, after in 1u32..30, own in prop::option::of(1u32..100)) {
            let size = |pods| divide(500, &api(2), &[PoolDemand { share: own.map(share), ..pool("p", Role::Workers, pods) }, pool("q", Role::AiWorkers, 3)]);
            let (before, after) = (size(before), size(after));
            if let (Ok(a), Ok(b)) = (&before.pools["p"], &after.pools["p"]) {
                prop_assert_eq!(a, b);
            }
            prop_assert_eq!(&before.pools["q"], &after.pools["q"]);
            prop_assert_eq!(&before.api, &after.api);
        }
    }
}
