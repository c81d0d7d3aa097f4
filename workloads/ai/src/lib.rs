//! The ai worker: classifies posts by language, sentiment and topic, with models in its own
//! process.

pub mod analysis;
pub mod analyzer;
pub mod cli;
pub mod commands;
pub mod engine;
pub mod evaluation;
pub mod handler;
pub mod health;
pub mod language;
pub mod lexicon;
pub mod metrics;
pub mod model;
pub mod reference;
pub mod text;
pub mod variants;
pub mod worker;

pub use analysis::{Analysis, ModelInfo};
pub use analyzer::{Analyzer, DetailedAnalysis, LoadedModel};
pub use engine::Engine;
