//! PostgreSQL, the source of truth about jobs, tenants and credits.
//!
//! Every change is one call of one function of the schema `switchyard`, in one round trip and one
//! transaction. The functions are in `migrations/functions`. A workload's database role needs no
//! right on the tables that the functions write. Statements are unnamed and rely on no session
//! state, so they work behind a pooler in transaction mode.
//!
//! Rows are always locked in the same order: the analysis (root), then its descendants, then the
//! tenant. Statements that lock several analyses lock them by ascending id, or skip locked rows.

mod address;
mod admin;
mod admission;
mod batcher;
mod claim;
mod completion;
mod connect;
mod database;
mod error;
pub mod failover;
mod keys;
mod maintenance;
mod migrate;
mod observe;
mod outcome;
mod reads;
pub mod retry;
mod run_key;
mod server;
mod submission;
mod tls;

pub use address::{Address, AddressError};
pub use admin::{ApiKey, DeadChild, DeadJob, NewTenant, ReplayOutcome, TenantReport};
pub use claim::{Claim, DEFAULT_LEASE, Lease, ProgressReport};
pub use connect::Store;
pub use database::Policy;
pub use error::StoreError;
pub use keys::KeyReport;
pub use maintenance::{Reaped, Removed, Retention};
pub use migrate::{MigrateError, migrate};
pub use observe::{
    ChildReport, Fairness, JobReport, LedgerEntry, LedgerPage, Outcomes, PlatformSnapshot, RoleSessions, Sessions,
    TenantPage, TenantRow, WorkerHeartbeat, WorkerReport, WorkersSeen,
};
pub use outcome::FailOutcome;
pub use reads::{CancelOutcome, JobFilter, JobPage, ResultOutcome, Tenant, Usage};
pub use run_key::RunKey;
pub use submission::{Admission, Idempotency, KeyHash, SubmitRequest};
