//! The connection budget: divides the database connections of a platform. Pure.
//!
//! A platform has `maxConnections`. Each database role has an allocation of them, which PostgreSQL
//! enforces as a `CONNECTION LIMIT`; unallocated connections are the reserve. The connections of
//! one pod are its allocation divided by the number of pods that the allocation is planned for, not
//! by the current number, so scaling changes no pod template. What does not fit is refused with the
//! arithmetic, younger pools first.

use std::{collections::BTreeMap, fmt};

use switchyard_contract::{ConnectionPool, Role};

use crate::{crd::Connections, spec::defaults::SURGE};

/// Connections for setup, administration and the superuser slots of PostgreSQL.
pub const ADMIN_CONNECTIONS: u32 = 10;
/// Default of `maxConnections`. The default allocations are in proportion to it.
pub const DEFAULT_MAX: u32 = 500;

/// Connections of all pods of a workload together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub size: u32,
    pub overflow: u32,
    pub wait_timeout_seconds: u64,
    pub statement_timeout_seconds: u64,
}

impl Share {
    /// Connections, including the overflow.
    pub const fn total(&self) -> u32 {
        self.size.saturating_add(self.overflow)
    }

    /// The default allocation of `role`, in proportion to `max` connections.
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

/// The number of pods that the allocation of a role is planned for without a `scaling.max`.
const fn planned_pods(role: Role) -> u32 {
    match role {
        Role::Api => 10 + SURGE,
        Role::Workers => 20,
        Role::AiWorkers | Role::Discovery => 10,
    }
}

/// The connections that the API requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiDemand {
    /// The allocation of the API.
    pub share: Share,
    /// Most pods at once, including the surge.
    pub pods_at_most: u32,
    /// Most pods that scaling may ever request, including the surge; none for a fixed number.
    pub bound: Option<u32>,
}

/// The connections that a pool requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolDemand {
    pub name: String,
    /// Creation time in any unit that orders. Younger pools are refused first.
    pub age_order: i64,
    pub role: Role,
    /// Most pods at once, including the surge.
    pub pods_at_most: u32,
    /// Most pods that scaling may ever request, including the surge; none for a fixed number.
    pub bound: Option<u32>,
    /// Connections of its own, in addition to the allocation of the role.
    pub share: Option<Share>,
}

/// The allocation of one database role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    pub role: Role,
    pub size: u32,
    pub overflow: u32,
    pub statement_timeout_seconds: u64,
    /// Most pods with granted connections at once, including the surge.
    pub pods_at_most: u32,
    /// Most connections that these pods hold together.
    pub used_at_most: u32,
}

impl Allocation {
    /// The `CONNECTION LIMIT` of the role.
    pub const fn total(&self) -> u32 {
        self.size.saturating_add(self.overflow)
    }
}

/// Why a demand does not fit: the arithmetic and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The divided connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub allocations: Vec<Allocation>,
    /// Connections of one pod of the API.
    pub api: Result<ConnectionPool, Refusal>,
    /// Connections of one pod of each pool, by the name of the pool.
    pub pools: BTreeMap<String, Result<ConnectionPool, Refusal>>,
    /// Whether all allocations fit together, with the arithmetic.
    pub verdict: Result<String, Refusal>,
}

/// Divides `max` connections among the API and the pools.
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
    // Connections granted so far to the pools that share the allocation of their role.
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

/// The pool of one pod with `total` connections, divided into size and overflow as `share` is.
fn pool_of(share: Share, total: u32) -> ConnectionPool {
    let permanent = (u64::from(total) * u64::from(share.size)).div_ceil(u64::from(share.total().max(1)));
    let size = u32::try_from(permanent).unwrap_or(total).clamp(1, total.max(1));
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
            "the API may have {} pods at once (including {SURGE} for a rollout), but its allocation has {} connections, \
             less than one for each pod: raise spec.api.connections, or lower the number of pods",
            api.pods_at_most,
            api.share.total(),
        )));
    }
    allocation.take(api.pods_at_most, per_pod);
    Ok(pool_of(api.share, per_pod))
}

/// Grants connections to a pool that shares the allocation of its role with other pools.
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
            "{} pods at most (including {SURGE} for a rollout) x {per_pod} connections = {needs}, \
             but older pools leave {left} of the {} connections of {}: at most {} pods fit. \
             Lower the number of pods, or give the pool its own connections in spec.connections",
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

/// Grants a pool its own connections: adds them to the allocation of its role, out of the reserve.
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
            "{} pods at most (including {SURGE} for a rollout) x {per_pod} connections = {needs}, \
             but spec.connections allocates {}: raise it, or lower the number of pods",
            pool.pods_at_most,
            share.total(),
        )));
    }
    let allocated: u32 = allocations.iter().map(Allocation::total).sum();
    let reserve = max.saturating_sub(allocated.saturating_add(ADMIN_CONNECTIONS));
    if share.total() > reserve {
        return Err(Refusal(format!(
            "spec.connections requests {} connections, but the reserve has {reserve} \
             ({max} in total, {allocated} allocated, {ADMIN_CONNECTIONS} for setup and administration): \
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
    let totals: Vec<String> = allocations
        .iter()
        .map(|allocation| format!("{} {}+{}", allocation.role, allocation.size, allocation.overflow))
        .collect();
    let allocated: u32 = allocations.iter().map(Allocation::total).sum();
    let needs = allocated.saturating_add(ADMIN_CONNECTIONS);
    let sum = format!(
        "allocations {} and {ADMIN_CONNECTIONS} for setup and administration need {needs} of {max} connections",
        totals.join(", "),
    );
    if needs > max {
        Err(Refusal(format!(
            "{sum}: raise spec.database.maxConnections, or lower spec.api.connections or spec.connections of the pools"
        )))
    } else {
        Ok(format!("{sum}; {} in reserve", max - needs))
    }
}

/// Returns `default`, overridden by the fields of `over` that are set.
pub fn share(default: Share, over: Option<&Connections>) -> Share {
    let over = over.cloned().unwrap_or_default();
    Share {
        size: over.size.map_or(default.size, count),
        overflow: over.overflow.map_or(default.overflow, count),
        wait_timeout_seconds: over.wait_timeout.map_or(default.wait_timeout_seconds, |wait| wait.0),
        statement_timeout_seconds: over.statement_timeout.map_or(default.statement_timeout_seconds, |limit| limit.0),
    }
}

/// A number of the spec as unsigned. The schema accepts no negative number; here one becomes 0.
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
    fn default_pools_are_those_of_the_roles() {
        let shares = [Role::Api, Role::Workers, Role::AiWorkers, Role::Discovery].map(|role| {
            let share = Share::default_of(role, 500);
            (share.size, share.overflow, share.wait_timeout_seconds, share.statement_timeout_seconds)
        });
        assert_eq!(shares, [(100, 50, 2, 10), (80, 20, 30, 300), (30, 10, 60, 600), (20, 5, 45, 300)]);
    }

    #[test]
    fn default_allocations_leave_a_reserve() {
        let budget = divide(
            500,
            &api(2),
            &[pool("general", Role::Workers, 2), pool("cdn", Role::Workers, 2), pool("ai", Role::AiWorkers, 2)],
        );
        let totals: Vec<u32> = budget.allocations.iter().map(Allocation::total).collect();
        assert_eq!(totals, [150, 100, 40, 25]);
        assert!(
            budget.verdict.as_ref().is_ok_and(|words| words.ends_with("need 325 of 500 connections; 175 in reserve")),
            "{:?}",
            budget.verdict
        );
        assert_eq!(budget.api.map(|grant| (grant.size, grant.overflow)), Ok((9, 4)));
        assert_eq!(budget.pools["general"].as_ref().map(|grant| (grant.size, grant.overflow)), Ok((4, 1)));
        assert_eq!(budget.pools["ai"].as_ref().map(|grant| (grant.size, grant.overflow)), Ok((3, 1)));
        assert_eq!((budget.allocations[1].pods_at_most, budget.allocations[1].used_at_most), (4, 20));
    }

    #[test]
    fn default_allocations_follow_max_connections() {
        let budget = divide(50, &ApiDemand { share: Share::default_of(Role::Api, 50), ..api(2) }, &[]);
        assert_eq!(budget.allocations.iter().map(Allocation::total).collect::<Vec<_>>(), [15, 10, 4, 2]);
        assert!(budget.verdict.is_ok());
    }

    #[test]
    fn the_younger_of_two_pools_is_refused_with_the_arithmetic() {
        let older = PoolDemand { age_order: 1, ..pool("z-older", Role::Workers, 15) };
        let younger = PoolDemand { age_order: 2, ..pool("a-younger", Role::Workers, 7) };
        let budget = divide(500, &api(2), &[younger, older]);
        assert!(budget.pools["z-older"].is_ok());
        let Err(Refusal(words)) = &budget.pools["a-younger"] else { panic!("7 x 5 of 25 were granted") };
        assert!(
            words.contains("7 pods at most")
                && words.contains("x 5 connections = 35")
                && words.contains("leave 25 of the 100 connections"),
            "{words}"
        );
        assert!(words.contains("at most 4 pods fit"), "{words}");
    }

    #[test]
    fn connections_of_a_pool_come_out_of_the_reserve() {
        let own = PoolDemand { share: Some(share(60)), bound: Some(6), ..pool("own", Role::Discovery, 4) };
        let budget = divide(500, &api(2), std::slice::from_ref(&own));
        assert_eq!(budget.pools["own"].as_ref().map(|grant| grant.size), Ok(10));
        assert_eq!(budget.allocations[3].total(), 85);
        let greedy = PoolDemand { share: Some(share(200)), ..own };
        let budget = divide(500, &api(2), &[greedy]);
        assert!(
            budget.pools["own"].as_ref().is_err_and(|Refusal(words)| words.contains("the reserve has 175")),
            "{:?}",
            budget.pools
        );
        assert!(budget.verdict.is_ok(), "a refused pool takes nothing");
    }

    #[test]
    fn allocations_above_the_maximum_are_refused_with_the_sum() {
        let budget = divide(100, &ApiDemand { share: share(90), pods_at_most: 2, bound: None }, &[]);
        assert!(
            budget.verdict.is_err_and(|Refusal(words)| words.contains("need 133 of 100 connections")),
            "{:?}",
            budget.allocations
        );
    }

    proptest! {
        #[test]
        fn grants_never_exceed_an_allocation(max in 10u32..2000, api_pods in 1u32..50, pools in prop::collection::vec((0usize..3, 1u32..40, prop::option::of(1u32..200), any::<bool>()), 0..12)) {
            let api = ApiDemand { share: Share::default_of(Role::Api, max), pods_at_most: api_pods, bound: None };
            let pools: Vec<PoolDemand> = (0_i64..).zip(pools).map(|(i, (role, pods, own, bounded))| PoolDemand {
                age_order: i,
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
        fn scaling_a_pool_changes_no_connections(before in 1u32..30, after in 1u32..30, own in prop::option::of(1u32..100)) {
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
