//! Chaos: a load of mixed tenants on real servers and real processes while parts of them are killed, stopped and cut off, and a judgement of what is left.
//!
//! What happens is planned ahead from a seed: [`plan`] says what goes wrong and when, [`script`] what each job does. The judgement ([`checks`]) reads the
//! database alone: its tables, and what triggers of the harness' own noted about every change.

pub mod caller;
pub mod checks;
pub mod faults;
pub mod fleet;
pub mod ground;
pub mod load;
pub mod mounts;
pub mod plan;
pub mod program;
pub mod proxy;
pub mod report;
pub mod round;
pub mod script;
pub mod watcher;
pub mod worker;
