use std::error::Error as _;

use tokio_postgres::error::SqlState;

/// Why the store could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No connection came free, or could be made, in time. The statement was not sent.
    #[error("no database connection: {0}")]
    Unavailable(String),
    /// The connection broke or the deadline passed after the statement was sent: it may have taken effect.
    #[error("the database did not answer: {0}")]
    Interrupted(String),
    /// PostgreSQL undid the statement, because it and others waited for each other. Nothing was written.
    #[error("the database undid the statement: {0}")]
    Undone(String),
    /// The server answers and cannot write: its disk is full or fails, or it is read-only, as a standby is (to which an address that is just being moved may
    /// lead). Nothing was written.
    #[error("the database cannot write: {0}")]
    Unwritable(String),
    /// More callers wait than can be answered in time. Nothing was sent.
    #[error("more calls wait for the database than it can answer in time")]
    Overloaded,
    /// PostgreSQL refused the statement.
    #[error("the database refused the statement ({code}): {message}")]
    Refused { code: String, message: String },
    /// The answer is not what this version of the program expects, for instance in the middle of an upgrade.
    #[error("the database answered something unexpected: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// Whether the same call may succeed a little later.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Interrupted(_) | Self::Undone(_) | Self::Unwritable(_) | Self::Overloaded
        )
    }

    /// Whether nothing can have been written, so that the call may be repeated whatever it does.
    pub const fn is_unsent(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Undone(_) | Self::Unwritable(_) | Self::Overloaded)
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // The server is going away, starting, out of connections, or ended the statement: not the statement's fault.
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
                Self::Undone(db.message().to_owned())
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

/// Whether it is the server, whatever the statement: 53100, 58030 and 25006 of <https://www.postgresql.org/docs/15/errcodes-appendix.html>. Other codes of
/// their classes, such as a statement's own want of memory, are the statement's.
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
