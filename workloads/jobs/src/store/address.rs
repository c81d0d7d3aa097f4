use std::{str::FromStr, time::Duration};

use secrecy::ExposeSecret;
use switchyard_contract::{
    Mount, Role,
    files::{DATABASE_REPLICA_URIS, DATABASE_URI, FileError, SecretFile},
};
use tokio_postgres::config::SslMode;

/// How long making a connection may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
        Self::read(mount, DATABASE_URI)?.logging_in(mount, role)
    }

    /// The read replicas in `database/replica-uris`, separated by commas or line ends, logging in like [`Address::for_role`]; none without the key.
    pub fn replicas(mount: &Mount, role: Role) -> Result<Vec<Self>, AddressError> {
        let Some(uris) = mount.optional_secret(DATABASE_REPLICA_URIS)? else { return Ok(Vec::new()) };
        uris.expose_secret()
            .split([',', '\n'])
            .map(str::trim)
            .filter(|uri| !uri.is_empty())
            .map(|uri| Self::parse(uri, DATABASE_REPLICA_URIS.key)?.logging_in(mount, role))
            .collect()
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

    fn logging_in(mut self, mount: &Mount, role: Role) -> Result<Self, AddressError> {
        if let Some(password) = mount.role_password(role)? {
            self.0.user(role.as_str()).password(password.expose_secret());
        }
        Ok(self)
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
