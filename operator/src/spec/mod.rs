//! The meaning of the specs: settings with all defaults applied, the connection budget, names.

pub mod component;
pub mod connection_budget;
pub mod defaults;
pub mod images;
pub mod monitoring;
pub mod names;
pub mod pool;
pub(crate) mod quantity;
pub mod replicas;
pub mod secrets;
pub mod settings;
