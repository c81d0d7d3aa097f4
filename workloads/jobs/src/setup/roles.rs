//! The database roles of the workloads, by which PostgreSQL limits their connections, run time and
//! privileges.

use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use switchyard_contract::{Role, RoleGrant};
use tokio_postgres::{Client, Transaction, types::Type};

/// The functions that a worker may execute; it may read no table.
///
/// By name without parameters: during a rollout old and new workers use different versions of one.
const WORKER_FUNCTIONS: &[&str] = &[
    "claim",
    "heartbeat",
    "progress",
    "spawn",
    "complete",
    "complete_many",
    "complete_for_now",
    "fail",
    "release",
    "worker_seen",
    "worker_gone",
    "recovered",
];
/// Tables that the API reads as a tenant, under row-level security. It uses functions for the rest.
const TENANT_TABLES: &str = "switchyard.tenants, switchyard.jobs, switchyard.outputs, switchyard.events, switchyard.idempotency, switchyard.ledger";

#[derive(Debug, thiserror::Error)]
pub(super) enum RoleError {
    #[error("role '{0}' is a superuser, which no limit applies to; drop it or revoke that attribute")]
    Superuser(Role),
    #[error("function switchyard.{0} is missing, which workers need")]
    Missing(&'static str),
    #[error("{}", message(.0))]
    Database(#[from] tokio_postgres::Error),
}

fn message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

/// Creates or alters the roles, in one transaction.
pub(super) async fn create(client: &mut Client, logins: &[(RoleGrant, SecretString)]) -> Result<(), RoleError> {
    let transaction = client.transaction().await?;
    // Serializes setups of this database; those of other databases on the server may still
    // interfere.
    transaction.query_typed("select pg_advisory_xact_lock(hashtextextended('switchyard roles', 0))", &[]).await?;
    for (grant, password) in logins {
        create_role(&transaction, grant, password).await?;
    }
    grant_all(&transaction, logins.iter().map(|(grant, _)| grant.role)).await?;
    transaction.commit().await?;
    Ok(())
}

async fn create_role(
    transaction: &Transaction<'_>,
    grant: &RoleGrant,
    password: &SecretString,
) -> Result<(), RoleError> {
    let role = grant.role;
    let found = transaction
        .query_typed("select rolsuper from pg_roles where rolname = $1", &[(&role.as_str(), Type::TEXT)])
        .await?;
    let verb = match found.first() {
        None => "create",
        Some(row) if row.get(0) => return Err(RoleError::Superuser(role)),
        Some(_) => "alter",
    };
    // A SCRAM verifier instead of the password, because statements may be logged. Nothing needs
    // quoting: names come from a closed set, and the verifier contains no quotes.
    let verifier = scram_sha_256(password.expose_secret().as_bytes());
    transaction
        .batch_execute(&format!(
            "{verb} role {role} login password '{verifier}' connection limit {};
             alter role {role} set statement_timeout = '{}s';
             alter role {role} set idle_in_transaction_session_timeout = '60s'",
            grant.connections, grant.statement_timeout_seconds,
        ))
        .await?;
    Ok(())
}

async fn grant_all(transaction: &Transaction<'_>, roles: impl Iterator<Item = Role>) -> Result<(), RoleError> {
    // Functions are security definer, so execution is granted explicitly.
    transaction.batch_execute("revoke execute on all functions in schema switchyard from public").await?;
    let worker_functions = signatures(transaction, WORKER_FUNCTIONS).await?.join(", ");
    for role in roles {
        let grants = match role {
            Role::Api => format!(
                "grant select on {TENANT_TABLES} to {role};
                 grant execute on all functions in schema switchyard to {role};
                 revoke execute on function {worker_functions} from {role}"
            ),
            Role::Workers | Role::AiWorkers | Role::Discovery => {
                format!("grant execute on function {worker_functions} to {role}")
            }
        };
        transaction
            .batch_execute(&format!(
                "revoke all on all tables in schema switchyard from {role};
                 revoke execute on all functions in schema switchyard from {role};
                 grant usage on schema switchyard to {role};
                 {grants}"
            ))
            .await?;
    }
    Ok(())
}

/// The functions of these names with their parameter types, as `grant` needs them.
async fn signatures(transaction: &Transaction<'_>, names: &[&'static str]) -> Result<Vec<String>, RoleError> {
    let mut found = Vec::new();
    for name in names {
        let rows = transaction
            .query_typed(
                "select p.oid::regprocedure::text from pg_proc p
                 where p.pronamespace = 'switchyard'::regnamespace and p.proname = $1",
                &[(name, Type::TEXT)],
            )
            .await?;
        if rows.is_empty() {
            return Err(RoleError::Missing(name));
        }
        found.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    Ok(found)
}
