//! The [`Store`]: one handle for everything that the database holds.

use switchyard_contract::{Config, ConnectionPool, Mount, Workload};

use super::{
    address::{Address, AddressError},
    completion::{self, Completions},
    database::{Database, Policy},
    error::StoreError,
    server::Server,
    submission::{self, Submissions},
};
use crate::resilience::Breaker;

/// Jobs, tenants and credits. Cheap to clone: clones share connections and batches.
#[derive(Clone)]
pub struct Store {
    pub(super) database: Database,
    pub(super) submissions: Submissions,
    pub(super) completions: Completions,
}

impl Store {
    /// A store for the workload that `config` describes. Connections are made when they are needed:
    /// an unreachable database shows at the first call.
    ///
    /// # Errors
    /// [`AddressError`] if an address in the mounted Secret is missing or invalid.
    pub fn connect(config: &Config, mount: &Mount) -> Result<Self, AddressError> {
        let (role, pooler) = (config.database.role, config.database.pooler);
        let address = Address::for_role(mount, role, pooler)?;
        let replicas = Address::replicas(mount, role, pooler)?;
        let policy = Policy { tiers: config.tiers, lanes: config.lanes, retry: config.retry.clone() };
        let name = match &config.workload {
            Workload::Setup { .. } => "switchyard-setup".to_owned(),
            Workload::Api => "switchyard-api".to_owned(),
            Workload::Pool { name, .. } => format!("switchyard-{name}"),
        };
        Ok(Self::open(&address, &name, config.database.connections, policy).with_replicas(
            &replicas,
            &name,
            config.database.connections,
        ))
    }

    /// A store at `address`, without replicas. `application` is what `pg_stat_activity` shows.
    /// Needs a running tokio runtime when it is first used.
    pub fn open(address: &Address, application: &str, connections: ConnectionPool, policy: Policy) -> Self {
        Self::on(Database::new(address, application, connections, policy))
    }

    /// The same store with read replicas. `connections` applies to each of them.
    pub fn with_replicas(self, replicas: &[Address], application: &str, connections: ConnectionPool) -> Self {
        Self::on(self.database.with_replicas(replicas, application, connections))
    }

    fn on(database: Database) -> Self {
        Self {
            submissions: submission::batcher(database.clone()),
            completions: completion::batcher(database.clone()),
            database,
        }
    }

    /// The rules that this store applies.
    pub fn policy(&self) -> &Policy {
        &self.database.policy
    }

    /// Connections to the primary, open and free, and callers that wait for one.
    pub fn pool_status(&self) -> deadpool_postgres::Status {
        self.database.primary.status()
    }

    /// The primary's circuit breaker.
    pub fn breaker(&self) -> &Breaker {
        self.database.primary.breaker()
    }

    /// Whether no write has failed in the last 30 seconds because the primary's disk is full or
    /// failing, or because it is a standby.
    pub fn is_writable(&self) -> bool {
        self.database.primary.is_writable()
    }

    /// The replicas' circuit breakers, in the order of their addresses.
    pub fn replica_breakers(&self) -> impl Iterator<Item = &Breaker> {
        self.database.replicas.iter().map(Server::breaker)
    }

    /// One round trip to the primary, for readiness. It is made even while the breaker is open, and
    /// the breaker counts its result.
    ///
    /// # Errors
    /// Any [`StoreError`] of a call that does not come back.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.database.essential().rows("select 1", &[]).await.map(drop)
    }
}
