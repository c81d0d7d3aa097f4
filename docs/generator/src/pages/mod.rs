//! The pages, one a module.

pub mod alerts;
pub mod chart_values;
pub mod conditions;
pub mod environment_variables;
pub mod events;
pub mod metrics;
pub mod presets;
pub mod problem_types;
pub mod resources;
pub mod tiers;
