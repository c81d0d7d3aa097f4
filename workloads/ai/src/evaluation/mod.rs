//! Evaluation: how often the model is right, on posts with known labels.

mod judgement;
mod language_names;
mod report;

pub use judgement::{Judgement, LabelledPost};
pub use report::{Confidence, Figures, Language, Report, Sentiment, Topics, report};
