//! Brings the database schema up to date.

use tokio_postgres::{Client, Transaction, types::Type};

/// Numbered changes, each applied once and in order. Published ones must not be edited.
const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "schema", include_str!("../../migrations/0001_schema.sql")),
    (2, "turns", include_str!("../../migrations/0002_turns.sql")),
    (3, "row level security", include_str!("../../migrations/0003_row_level_security.sql")),
    (4, "retention", include_str!("../../migrations/0004_retention.sql")),
    (5, "corrections", include_str!("../../migrations/0005_corrections.sql")),
    (6, "diagnostics", include_str!("../../migrations/0006_diagnostics.sql")),
    (7, "function names", include_str!("../../migrations/0007_function_names.sql")),
];

/// The functions, replaced at every run: they hold no data. A function must keep its signature
/// while two versions of the workloads may run side by side. `settings.sql` comes last: it
/// configures all functions before it.
const FUNCTIONS: &[&str] = &[
    include_str!("../../migrations/functions/common.sql"),
    include_str!("../../migrations/functions/submit.sql"),
    include_str!("../../migrations/functions/claim.sql"),
    include_str!("../../migrations/functions/outcome.sql"),
    include_str!("../../migrations/functions/spawn.sql"),
    include_str!("../../migrations/functions/cancel.sql"),
    include_str!("../../migrations/functions/admin.sql"),
    include_str!("../../migrations/functions/upkeep.sql"),
    include_str!("../../migrations/functions/reads.sql"),
    include_str!("../../migrations/functions/observe.sql"),
    include_str!("../../migrations/functions/settings.sql"),
];

/// Key of the advisory lock. Any number that no other application uses on this database.
const LOCK: i64 = 0x5377_6974_6368_7964;

/// Why a migration failed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("migration {version} ({name}) failed: {source}")]
    Step { version: i32, name: &'static str, source: tokio_postgres::Error },
    #[error(
        "the database's schema is version {found}, newer than this program's {known}: roll the platform's version forward again"
    )]
    Newer { found: i32, known: i32 },
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
}

/// Brings the schema up to date in one transaction, and returns its version. Concurrent callers
/// wait for each other. Safe to repeat.
///
/// # Errors
/// [`MigrateError::Newer`] if a newer program has migrated the database, else the failed statement.
pub async fn migrate(client: &mut Client) -> Result<i32, MigrateError> {
    let transaction = client.transaction().await?;
    // A transaction-level lock, so it works through a pooler as well.
    transaction.query_typed("select pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    transaction
        .batch_execute(
            "create schema if not exists switchyard;
             create table if not exists switchyard.schema_version (
                 version int primary key, name text not null, applied_at timestamptz not null default now());",
        )
        .await?;
    let known = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    let found = version(&transaction).await?;
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    for (version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| *version > found) {
        transaction.batch_execute(sql).await.map_err(|source| MigrateError::Step {
            version: *version,
            name,
            source,
        })?;
        transaction
            .query_typed(
                "insert into switchyard.schema_version (version, name) values ($1, $2)",
                &[(version, Type::INT4), (name, Type::TEXT)],
            )
            .await?;
    }
    for sql in FUNCTIONS {
        transaction.batch_execute(sql).await?;
    }
    transaction.commit().await?;
    Ok(known)
}

async fn version(transaction: &Transaction<'_>) -> Result<i32, tokio_postgres::Error> {
    Ok(transaction
        .query_typed("select coalesce(max(version), 0) from switchyard.schema_version", &[])
        .await?
        .first()
        .map_or(0, |row| row.get(0)))
}
