//! The connections last granted to each pool.
//!
//! Pools share one budget, so a change of one pool can change the grants of others, which then must
//! be reconciled.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use switchyard_contract::ConnectionPool;

use crate::{
    kubernetes::cache::store::WatchCache,
    spec::{
        connection_budget::{Budget, Refusal},
        settings::Settings,
    },
};

/// The grant of each pool, and whether the budget fits.
type Granted = (BTreeMap<String, Result<ConnectionPool, Refusal>>, bool);

/// The last grants, by the platform's namespace and name.
#[derive(Debug, Default)]
pub struct Grants(Mutex<HashMap<(String, String), Granted>>);

impl Grants {
    /// Enqueues the pools whose grant in `budget` differs from the last one.
    pub fn update(&self, cache: &WatchCache, settings: &Settings, budget: &Budget) {
        let granted = (budget.pools.clone(), budget.verdict.is_ok() && budget.api.is_ok());
        let mut all = self.0.lock();
        let before =
            all.insert((settings.namespace.clone(), settings.name.clone()), granted.clone()).unwrap_or_default();
        let changed =
            granted.0.iter().filter(|(pool, share)| before.1 != granted.1 || before.0.get(*pool) != Some(*share));
        cache.enqueue_pools(&settings.namespace, changed.map(|(pool, _)| pool));
    }
}
