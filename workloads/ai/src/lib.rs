//! Analyses posts: language, sentiment and category, with models that run in this process.

pub mod analyzer;
pub mod commands;
pub mod engine;
pub mod evaluation;
pub mod handler;
pub mod health;
pub mod language;
pub mod lexicon;
pub mod metrics;
pub mod model;
pub mod text;
pub mod variants;
pub mod worker;

pub use analyzer::{Analysis, Analyzer, Analyzers, Detail, ModelInfo};
pub use engine::Engine;
