//! The scenarios of the report: each measures its systems in alternating rounds and adds the
//! results.

pub mod alone;
pub mod backlog;
pub mod growth;
pub mod handoff;
pub mod messages;
pub mod posts;
pub mod settings;
pub mod watching;
