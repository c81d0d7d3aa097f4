//! Errors of the store.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

/// Why a call of the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No connection became free, or could be opened, in time. The statement was not sent.
    #[error("no database connection: {0}")]
    Unavailable(String),
    /// The connection broke or the deadline passed after the statement was sent. It may have
    /// committed.
    #[error("the database did not answer: {0}")]
    Interrupted(String),
    /// PostgreSQL rolled the statement back, because of a deadlock or a serialization failure.
    /// Nothing was written.
    #[error("the database rolled the statement back: {0}")]
    RolledBack(String),
    /// The server answers but cannot write: its disk is full or fails, or it is read-only. During a
    /// failover an address may lead to a standby. Nothing was written.
    #[error("the database cannot write: {0}")]
    Unwritable(String),
    /// More calls are queued than can be answered in time. Nothing was sent.
    #[error("more calls wait for the database than it can answer in time")]
    Overloaded,
    /// PostgreSQL refused the statement.
    #[error("the database refused the statement ({code}): {message}")]
    Refused { code: String, message: String },
    /// The answer does not have the form that this version expects, for instance during an upgrade.
    #[error("the database answered something unexpected: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// Whether a retry may succeed.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Interrupted(_) | Self::RolledBack(_) | Self::Unwritable(_) | Self::Overloaded
        )
    }

    /// Whether nothing can have been written, so that a retry is safe for every call.
    pub const fn is_unsent(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::RolledBack(_) | Self::Unwritable(_) | Self::Overloaded)
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // The server shuts down, starts, has no free connection, or cancelled the statement.
            Some(db)
                if [
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                    SqlState::CANNOT_CONNECT_NOW,
                    SqlState::TOO_MANY_CONNECTIONS,
                    SqlState::QUERY_CANCELED,
                ]
                .contains(db.code()) =>
            {
                Self::Interrupted(db.message().to_owned())
            }
            Some(db) if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(db.code()) => {
                Self::RolledBack(db.message().to_owned())
            }
            Some(db) if cannot_write(db.code()) => Self::Unwritable(format!("{} ({})", db.message(), db.code().code())),
            Some(db) => Self::Refused { code: db.code().code().to_owned(), message: db.message().to_owned() },
            None => Self::Interrupted(match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }),
        }
    }
}

/// Whether the server refuses every write: SQLSTATE 53100, 58030 and 25006 of
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
///
/// Other codes of these classes, such as out of memory, concern one statement.
fn cannot_write(code: &SqlState) -> bool {
    [SqlState::DISK_FULL, SqlState::IO_ERROR, SqlState::READ_ONLY_SQL_TRANSACTION].contains(code)
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => Self::Unavailable(match error.as_db_error() {
                Some(db) => format!("{} ({})", db.message(), db.code().code()),
                None => match error.source() {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                },
            }),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
