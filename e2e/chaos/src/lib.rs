//! Chaos tests: mixed tenants load real servers and processes while faults kill, stop and
//! disconnect them. Afterwards checks look for violated invariants.
//!
//! A seed determines the run: [`plan`] the faults and their times, [`script`] what each job does.
//! The [`checks`] read only the database: its tables, and the changes that the harness' triggers
//! recorded.

pub mod caller;
pub mod checks;
pub mod faults;
pub mod fixture;
pub mod load;
pub mod mounts;
pub mod plan;
pub mod processes;
pub mod program;
pub mod proxy;
pub mod report;
pub mod run;
pub mod script;
pub mod watcher;
pub mod worker;
