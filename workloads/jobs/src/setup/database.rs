//! The database: migrates the schema and creates the roles.

use std::{error::Error as _, io};

use backon::RetryableWithContext as _;
use secrecy::ExposeSecret;
use switchyard_contract::{
    Mount, Pooler, RoleGrant,
    files::{DATABASE_ADMIN_URI, DATABASE_URI},
};
use tokio_postgres::{Client, error::SqlState};

use super::{
    error::{Component, SetupError},
    reach::{Attempt, reach},
    roles::{self, RoleError},
};
use crate::{
    resilience::backoff::full_jitter,
    store::{Address, AddressError, MigrateError, migrate},
};

/// Retries when the setup of another platform on the same server changes the same roles.
const ROLE_RETRIES: u32 = 10;

/// Migrates the schema, and creates the roles whose passwords are mounted.
pub(super) async fn prepare(mount: &Mount, pooler: Pooler, grants: &[RoleGrant]) -> Result<(), SetupError> {
    let admin = admin_address(mount).map_err(|error| failed(error.to_string()))?;
    let mut client = reach(Component::Database, || connect(&admin)).await?;
    let version = migrate(&mut client).await.map_err(|error| failed(migration_message(&error, admin.user())))?;
    tracing::info!(version, "schema is up to date");

    let mut logins = Vec::new();
    for grant in grants {
        if let Some(password) = mount.role_password(grant.role).map_err(|error| failed(error.to_string()))? {
            logins.push((grant.clone(), password));
        }
    }
    if logins.is_empty() {
        return Ok(());
    }
    // Roles belong to the whole server, and an ordinary user can take no lock on all of it.
    let create = |mut client: Client| async {
        let result = roles::create(&mut client, &logins).await;
        (client, result)
    };
    let (_, created) = create
        .retry((0..ROLE_RETRIES).map(full_jitter))
        .context(client)
        .when(|error| matches!(error, RoleError::Database(error) if is_concurrent_change(error)))
        .await;
    created.map_err(|error| failed(format!("cannot create the database roles as user '{}': {error}", admin.user())))?;
    for (grant, _) in &logins {
        let login = Address::for_role(mount, grant.role, pooler).map_err(|error| failed(error.to_string()))?;
        reach(Component::Database, || connect(&login)).await?;
    }
    Ok(())
}

/// Whether another transaction changed the same role meanwhile. PostgreSQL has several errors for
/// that.
fn is_concurrent_change(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        let known = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_OBJECT, SqlState::T_R_DEADLOCK_DETECTED]
            .contains(db.code());
        known || (*db.code() == SqlState::INTERNAL_ERROR && db.message().contains("concurrently"))
    })
}

fn admin_address(mount: &Mount) -> Result<Address, AddressError> {
    match mount.optional_secret(DATABASE_ADMIN_URI)? {
        Some(uri) => Address::with_mounted_roots(uri.expose_secret(), DATABASE_ADMIN_URI.key, mount),
        None => Address::read(mount, DATABASE_URI),
    }
}

fn failed(message: impl Into<String>) -> SetupError {
    SetupError::new(Component::Database, message)
}

async fn connect(address: &Address) -> Attempt<Client> {
    match address.config().connect(address.tls().clone()).await {
        Ok((client, connection)) => {
            tokio::spawn(async move {
                // An error also fails the client's next call.
                let _ = connection.await;
            });
            Attempt::Reached(client)
        }
        Err(error) => diagnose(address, &error),
    }
}

fn diagnose(address: &Address, error: &tokio_postgres::Error) -> Attempt<Client> {
    let (host, user, database) = (address.host(), address.user(), address.database());
    let Some(db) = error.as_db_error() else {
        if error.to_string().contains("TLS handshake") {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            return Attempt::Fatal(format!(
                "no encrypted connection to PostgreSQL at {host}: {why}; correct the address's sslmode or the certificates in 'ca.crt' in the database Secret"
            ));
        }
        return Attempt::Retry(unreachable_message(&host, error));
    };
    let code = db.code();
    if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        Attempt::Fatal(format!(
            "PostgreSQL at {host} refused the login of user '{user}' (wrong password, or no such user): correct the database Secret"
        ))
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        Attempt::Fatal(format!(
            "PostgreSQL at {host} has no database '{database}': create it, or correct the address in the database Secret"
        ))
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        Attempt::Retry(format!(
            "PostgreSQL at {host} has no connection left for user '{user}': raise max_connections, or lower spec.database.maxConnections"
        ))
    } else {
        Attempt::Retry(format!("PostgreSQL at {host} refused the connection: {} ({})", db.message(), code.code()))
    }
}

fn unreachable_message(host: &str, error: &tokio_postgres::Error) -> String {
    let source = error.source();
    let refused = source
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    let text = source.map_or_else(|| error.to_string(), ToString::to_string);
    if refused {
        format!("nothing listens at {host} (connection refused): is PostgreSQL running, and is the port right?")
    } else if text.contains("lookup address") || text.contains("Name or service not known") {
        format!("the host of {host} is unknown (no such name): correct the address in the database Secret")
    } else {
        format!("PostgreSQL at {host} cannot be reached: {text}")
    }
}

fn migration_message(error: &MigrateError, user: &str) -> String {
    let source = match error {
        MigrateError::Step { source, .. } => Some(source),
        MigrateError::Database(source) => Some(source),
        MigrateError::Newer { .. } => None,
    };
    match source.and_then(tokio_postgres::Error::as_db_error) {
        Some(db) if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE => format!(
            "user '{user}' may not create the schema 'switchyard' ({}): give it CREATE on the database, or put a login that may into the database Secret's 'admin-uri'",
            db.message()
        ),
        Some(db) => format!("the schema could not be migrated: {} ({})", db.message(), db.code().code()),
        None => format!("the schema could not be migrated: {error}"),
    }
}
