//! The workloads' database roles. PostgreSQL itself keeps the workloads apart by them: what they may connect, run and see.

use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use switchyard_contract::{Role, RoleGrant};
use tokio_postgres::{Client, Transaction, types::Type};

/// Functions that a worker calls, and nothing else; it reads no table. By name, so that a rollout's old and new workers find both their versions of one.
const WORK: &[&str] = &[
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
/// Tables that the API reads as a tenant; row-level security shows it that tenant's rows alone. Everything else goes through functions.
const TENANTS_TABLES: &str = "switchyard.tenants, switchyard.jobs, switchyard.outputs, switchyard.events, switchyard.idempotency, switchyard.ledger";

#[derive(Debug, thiserror::Error)]
pub(super) enum RoleError {
    #[error("role '{0}' is a superuser, for which no limit holds; drop it or take that right away")]
    Superuser(Role),
    #[error("function switchyard.{0} is missing, without which no worker can work")]
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

/// Makes the roles, or brings them to what is asked for, all or none.
pub(super) async fn make(client: &mut Client, logins: &[(RoleGrant, SecretString)]) -> Result<(), RoleError> {
    let transaction = client.transaction().await?;
    // One at a time: roles belong to the whole server.
    transaction.query_typed("select pg_advisory_xact_lock(hashtextextended('switchyard roles', 0))", &[]).await?;
    for (grant, password) in logins {
        make_one(&transaction, grant, password).await?;
    }
    grant_all(&transaction, logins.iter().map(|(grant, _)| grant.role)).await?;
    transaction.commit().await?;
    Ok(())
}

async fn make_one(transaction: &Transaction<'_>, grant: &RoleGrant, password: &SecretString) -> Result<(), RoleError> {
    let role = grant.role;
    let found = transaction
        .query_typed("select rolsuper from pg_roles where rolname = $1", &[(&role.as_str(), Type::TEXT)])
        .await?;
    let verb = match found.first() {
        None => "create",
        Some(row) if row.get(0) => return Err(RoleError::Superuser(role)),
        Some(_) => "alter",
    };
    // A verifier rather than the password: statements get into logs. Names come from a closed set and numbers are numbers; the verifier has no quotes.
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
    // Functions run with their owner's rights, so nobody calls one unasked.
    transaction.batch_execute("revoke execute on all functions in schema switchyard from public").await?;
    let work = signatures(transaction, WORK).await?.join(", ");
    for role in roles {
        let grants = match role {
            Role::Api => format!(
                "grant select on {TENANTS_TABLES} to {role};
                 grant execute on all functions in schema switchyard to {role};
                 revoke execute on function {work} from {role}"
            ),
            Role::Workers | Role::AiWorkers | Role::Discovery => format!("grant execute on function {work} to {role}"),
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

/// The functions of these names with their parameters, as statements name them.
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
