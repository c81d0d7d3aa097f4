//! Addresses of PostgreSQL servers: host, login, `sslmode` and trusted roots.

use std::{str::FromStr, time::Duration};

use secrecy::ExposeSecret;
use switchyard_contract::{
    Mount, Pooler, Role,
    files::{DATABASE_CA, DATABASE_REPLICA_URIS, DATABASE_URI, FileError, SecretFile},
};

use super::tls::{Tls, TlsMode};

/// Limit for opening a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Host, login and TLS settings of a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct Address {
    config: tokio_postgres::Config,
    tls: Tls,
}

/// Why an address cannot be used. Does not contain the address, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "the database Secret's '{key}' is not a PostgreSQL address: {reason}; write postgres://user:password@host:5432/database"
    )]
    Invalid { key: &'static str, reason: String },
    #[error(
        "the database Secret's '{key}' asks for sslmode={mode}, which does not exist: write disable, prefer, require, verify-ca or verify-full"
    )]
    SslMode { key: &'static str, mode: String },
    #[error(
        "the database Secret's 'ca.crt' cannot be used: {0}; put the certificate in PEM that the server's certificate is signed with"
    )]
    Roots(String),
}

impl Address {
    /// Reads the address in `file`, with the login that it contains.
    ///
    /// # Errors
    /// [`AddressError`] if the file cannot be read or the address is invalid.
    pub fn read(mount: &Mount, file: SecretFile) -> Result<Self, AddressError> {
        Self::with_mounted_roots(mount.secret(file)?.expose_secret(), file.key, mount)
    }

    /// The address in `database/uri`, with the login of `role` if its password is mounted.
    ///
    /// Behind a `pooler` the user may have a tenant suffix (`user.tenant`, as with Supavisor),
    /// which is kept.
    ///
    /// # Errors
    /// [`AddressError`] if a file cannot be read or the address is invalid.
    pub fn for_role(mount: &Mount, role: Role, pooler: Pooler) -> Result<Self, AddressError> {
        Self::read(mount, DATABASE_URI)?.with_login(mount, role, pooler)
    }

    /// The read replicas in `database/replica-uris`, separated by commas or line ends; empty
    /// without the key. They log in like [`Address::for_role`].
    ///
    /// # Errors
    /// [`AddressError`] if a file cannot be read or an address is invalid.
    pub fn replicas(mount: &Mount, role: Role, pooler: Pooler) -> Result<Vec<Self>, AddressError> {
        let Some(uris) = mount.optional_secret(DATABASE_REPLICA_URIS)? else { return Ok(Vec::new()) };
        uris.expose_secret()
            .split([',', '\n'])
            .map(str::trim)
            .filter(|uri| !uri.is_empty())
            .map(|uri| Self::with_mounted_roots(uri, DATABASE_REPLICA_URIS.key, mount)?.with_login(mount, role, pooler))
            .collect()
    }

    /// Parses `uri`; `key` names it in errors.
    ///
    /// Without an `sslmode` it is `prefer`: TLS if the server supports it. Certificates are checked
    /// against the web PKI's roots.
    ///
    /// # Errors
    /// [`AddressError::Invalid`] or [`AddressError::SslMode`].
    pub fn parse(uri: &str, key: &'static str) -> Result<Self, AddressError> {
        Self::parse_with_roots(uri, key, None)
    }

    /// As [`Address::parse`], with the roots in `database/ca.crt` if mounted.
    pub(crate) fn with_mounted_roots(uri: &str, key: &'static str, mount: &Mount) -> Result<Self, AddressError> {
        let roots = mount.optional_secret(DATABASE_CA)?;
        Self::parse_with_roots(uri, key, roots.as_ref().map(ExposeSecret::expose_secret))
    }

    fn parse_with_roots(uri: &str, key: &'static str, roots: Option<&str>) -> Result<Self, AddressError> {
        let (uri, mode) = split_mode(uri);
        let mode = match mode {
            None => TlsMode::Prefer,
            Some(name) => TlsMode::parse(&name).ok_or(AddressError::SslMode { key, mode: name })?,
        };
        let mut config = tokio_postgres::Config::from_str(&uri)
            .map_err(|error| AddressError::Invalid { key, reason: error.to_string() })?;
        config.ssl_mode(mode.ssl_mode()).connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(30));
        let tls = Tls::new(mode, roots).map_err(AddressError::Roots)?;
        Ok(Self { config, tls })
    }

    fn with_login(mut self, mount: &Mount, role: Role, pooler: Pooler) -> Result<Self, AddressError> {
        if let Some(password) = mount.role_password(role)? {
            let user = login(self.user(), role, pooler);
            self.config.user(user).password(password.expose_secret());
        }
        Ok(self)
    }

    /// `host:port`, for messages.
    pub fn host(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        format!("{host}:{}", self.config.get_ports().first().copied().unwrap_or(5432))
    }

    /// The user that logs in, for messages.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or("postgres")
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }

    pub(crate) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }
}

/// The user name of `role`, if the address names `user`.
fn login(user: &str, role: Role, pooler: Pooler) -> String {
    match user.split_once('.') {
        Some((_, tenant)) if pooler != Pooler::None => format!("{role}.{tenant}"),
        _ => role.to_string(),
    }
}

/// Splits the `sslmode` off an address of either form (`postgres://…?a=b&c=d`, `a=b c=d`), because
/// tokio-postgres supports fewer modes than libpq.
fn split_mode(uri: &str) -> (String, Option<String>) {
    let mut mode = None;
    let mut is_other = |setting: &&str| match setting.strip_prefix("sslmode=") {
        Some(name) => {
            mode = Some(name.trim_matches('\'').to_owned());
            false
        }
        None => true,
    };
    let rest = if uri.starts_with("postgres://") || uri.starts_with("postgresql://") {
        match uri.split_once('?') {
            None => uri.to_owned(),
            Some((address, settings)) => {
                let others: Vec<&str> = settings.split('&').filter(&mut is_other).collect();
                if others.is_empty() { address.to_owned() } else { format!("{address}?{}", others.join("&")) }
            }
        }
    } else {
        uri.split(' ').filter(&mut is_other).collect::<Vec<_>>().join(" ")
    };
    (rest, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sslmode_is_split_off_both_address_forms() {
        for (given, rest, mode) in [
            ("postgres://a:b@c/d", "postgres://a:b@c/d", None),
            ("postgres://a:b@c/d?sslmode=verify-full", "postgres://a:b@c/d", Some("verify-full")),
            ("postgresql://c/d?x=1&sslmode=require&y=2", "postgresql://c/d?x=1&y=2", Some("require")),
            ("host=c sslmode='verify-ca' user=a", "host=c user=a", Some("verify-ca")),
            ("postgres://a:sslmode=x@c/d", "postgres://a:sslmode=x@c/d", None),
        ] {
            assert_eq!(split_mode(given), (rest.to_owned(), mode.map(ToOwned::to_owned)), "{given}");
        }
    }

    #[test]
    fn role_keeps_the_poolers_tenant_suffix() {
        for (user, pooler, expected) in [
            ("postgres.abcdef", Pooler::Transaction, "analytics_api.abcdef"),
            ("postgres", Pooler::Transaction, "analytics_api"),
            ("jane.doe", Pooler::None, "analytics_api"),
        ] {
            assert_eq!(login(user, Role::Api, pooler), expected);
        }
    }

    #[test]
    fn invalid_address_is_refused_without_its_password() {
        for uri in ["postgres://a:hunter2@c/d?sslmode=perhaps", "postgres://a:hunter2@c/d?nonsense=1", "hunter2"] {
            let error = Address::parse(uri, "uri").unwrap_err().to_string();
            assert!(error.contains("'uri'") && !error.contains("hunter2"), "{error}");
        }
    }
}
