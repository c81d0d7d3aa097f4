use std::{str::FromStr, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use switchyard_contract::{
    Config, ConnectionPool, Lanes, Mount, Retry, Role, Tiers,
    files::{DATABASE_URI, FileError, SecretFile},
};
use tokio_postgres::{
    NoTls, Row,
    config::SslMode,
    types::{Json, ToSql, Type},
};

use super::StoreError;

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a client waits beyond the server's own limit, before it gives the connection up.
const DEADLINE_SLACK: Duration = Duration::from_secs(1);

/// Where PostgreSQL is and as whom to log in.
#[derive(Debug, Clone)]
pub struct Address(tokio_postgres::Config);

/// Why an address cannot be used. Never holds the address, which may carry a password.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "the database Secret's '{key}' is not a PostgreSQL address: {reason}; write postgres://user:password@host:5432/database"
    )]
    Invalid { key: &'static str, reason: String },
    #[error(
        "the database Secret's '{key}' asks for sslmode={mode}, which this version cannot do; use sslmode=prefer or disable"
    )]
    Tls { key: &'static str, mode: &'static str },
}

impl Address {
    /// Reads the address in `file` as it is.
    pub fn read(mount: &Mount, file: SecretFile) -> Result<Self, AddressError> {
        Self::parse(mount.secret(file)?.expose_secret(), file.key)
    }

    /// The address in `database/uri`, logging in as `role` where its password is mounted, else as the address says.
    pub fn for_role(mount: &Mount, role: Role) -> Result<Self, AddressError> {
        let mut address = Self::read(mount, DATABASE_URI)?;
        if let Some(password) = mount.role_password(role)? {
            address.0.user(role.as_str()).password(password.expose_secret());
        }
        Ok(address)
    }

    /// Parses `uri`; `key` names it in errors.
    pub fn parse(uri: &str, key: &'static str) -> Result<Self, AddressError> {
        let mut config = tokio_postgres::Config::from_str(uri)
            .map_err(|error| AddressError::Invalid { key, reason: error.to_string() })?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(AddressError::Tls { key, mode: "require" });
        }
        config.ssl_mode(SslMode::Disable).connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(30));
        Ok(Self(config))
    }

    /// `host:port`, for messages.
    pub fn host(&self) -> String {
        let host = match self.0.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        format!("{host}:{}", self.0.get_ports().first().copied().unwrap_or(5432))
    }

    /// The user that logs in, for messages.
    pub fn user(&self) -> &str {
        self.0.get_user().unwrap_or("postgres")
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.0.get_dbname().unwrap_or_else(|| self.user())
    }

    pub(crate) fn config(&self) -> &tokio_postgres::Config {
        &self.0
    }
}

/// The platform's rules, as the statements need them.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub tiers: Tiers,
    pub lanes: Lanes,
    pub retry: Retry,
}

/// The jobs, tenants and credits. Cheap to clone: clones share the connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    deadline: Duration,
    pub(super) policy: Arc<Policy>,
}

impl Store {
    /// A store for the workload that `config` describes. Connections are made when they are needed: a database that is away shows at the first call.
    pub fn connect(config: &Config, mount: &Mount) -> Result<Self, AddressError> {
        let address = Address::for_role(mount, config.database.role)?;
        let policy = Policy { tiers: config.tiers, lanes: config.lanes, retry: config.retry.clone() };
        let name = match &config.workload {
            switchyard_contract::Workload::Setup { .. } => "switchyard-setup".to_owned(),
            switchyard_contract::Workload::Api => "switchyard-api".to_owned(),
            switchyard_contract::Workload::Pool { name, .. } => format!("switchyard-{name}"),
        };
        Ok(Self::open(&address, &name, config.database.connections, policy))
    }

    /// A store at `address`. `application` is what `pg_stat_activity` shows.
    pub fn open(address: &Address, application: &str, connections: ConnectionPool, policy: Policy) -> Self {
        let mut config = address.0.clone();
        // PostgreSQL cuts names at 63 bytes, and with a notice at that.
        config.application_name(application.chars().take(63).collect::<String>());
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(connections.size.max(1) as usize)
            .wait_timeout(Some(Duration::from_secs(connections.wait_timeout_seconds.max(1))))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is given, which is all that building a pool can miss");
        let deadline = Duration::from_secs(connections.statement_timeout_seconds.max(1)) + DEADLINE_SLACK;
        Self { pool, deadline, policy: Arc::new(policy) }
    }

    /// The rules that this store applies.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Connections open and free, and callers that wait for one.
    pub fn pool_status(&self) -> deadpool_postgres::Status {
        self.pool.status()
    }

    /// One trip to the database and back, for readiness.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.rows("select 1", &[]).await.map(drop)
    }

    /// Runs a statement whose first column is a document that is always there.
    pub(super) async fn one<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<T, StoreError> {
        self.optional(sql, params).await?.ok_or_else(|| StoreError::Unexpected("no row".to_owned()))
    }

    /// Runs a statement whose first column is a document; no row and a null are `None`.
    pub(super) async fn optional<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Option<T>, StoreError> {
        match self.rows(sql, params).await?.first() {
            None => Ok(None),
            Some(row) => Ok(row.try_get::<_, Option<Json<T>>>(0).map_err(unexpected)?.map(|Json(value)| value)),
        }
    }

    /// Runs a statement whose first column is a document, one a row.
    pub(super) async fn many<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<T>, StoreError> {
        self.rows(sql, params)
            .await?
            .iter()
            .map(|row| row.try_get::<_, Json<T>>(0).map(|Json(value)| value).map_err(unexpected))
            .collect()
    }

    /// Runs a statement. Past the deadline the connection is thrown away: what comes out of it later belongs to nobody.
    pub(super) async fn rows(&self, sql: &str, params: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, StoreError> {
        let client = self.pool.get().await?;
        // Whoever drops this future in the middle leaves a connection with an answer on its way; tokio-postgres reads and drops it in order, so that
        // connection stays sound. Only silence makes it useless.
        match tokio::time::timeout(self.deadline, client.query_typed(sql, params)).await {
            Ok(rows) => Ok(rows?),
            Err(_) => {
                drop(Object::take(client));
                Err(StoreError::Interrupted(format!("no answer within {} s", self.deadline.as_secs())))
            }
        }
    }
}

fn unexpected(error: tokio_postgres::Error) -> StoreError {
    use std::error::Error as _;
    StoreError::Unexpected(error.source().map_or_else(|| error.to_string(), ToString::to_string))
}
