//! PostgreSQL, the truth about jobs, tenants and credits.
//!
//! Every change is one call of one function of the schema `switchyard` (see `migrations/functions`), so a change is one round trip and one
//! transaction, and a workload's database role needs no right on any table that the functions write. Statements are unnamed, which makes them safe
//! behind a pooler that hands out connections per transaction; nothing here relies on session state.
//!
//! Rows are locked in one order everywhere: the analysis (root), then its descendants, then the tenant. Statements that touch many analyses at once
//! take them in the order of their ids or skip what is locked.

mod address;
mod admin;
mod admission;
mod connect;
mod error;
pub mod failover;
mod gather;
mod keys;
mod maintenance;
mod migrate;
mod observe;
mod reads;
pub mod retry;
mod server;
mod tls;
mod work;

pub use address::{Address, AddressError};
pub use admin::{ApiKey, DeadJob, NewTenant, ReplayOutcome, TenantReport};
pub use admission::{Admission, Idempotency, KeyHash, SubmitRequest};
pub use connect::{Policy, Store};
pub use error::StoreError;
pub use keys::KeyReport;
pub use maintenance::{Kept, Reaped, Removed};
pub use migrate::{MigrateError, migrate};
pub use observe::{
    Facts, Fairness, JobReport, LedgerEntry, LedgerPage, Outcomes, PartReport, RoleSessions, Sessions, TenantPage,
    TenantRow, WorkerReport, WorkerSign, WorkersSeen,
};
pub use reads::{CancelOutcome, JobFilter, JobPage, ResultOutcome, Tenant, Usage};
pub use work::{Claim, FailOutcome, Held, Lease, ProgressReport};
