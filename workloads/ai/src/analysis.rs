//! The answer for one post, and the model that gave it.

use serde::Serialize;

use crate::{language::UNDETERMINED, model::Scored};

/// The category of a post without a topic: it is empty, or rules answered.
pub const UNKNOWN: &str = "unknown";

/// Language, sentiment and topics of a post.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// ISO 639-1, or `und` for a text without letters.
    pub language: String,
    /// negative, neutral or positive. An empty post is neutral with a score of 0.
    pub sentiment: Scored,
    /// The best topic. An empty post is [`UNKNOWN`] with a score of 0.
    pub category: Scored,
    /// Topics that are more likely than not, the category first. Empty if that is [`UNKNOWN`].
    pub topics: Vec<Scored>,
}

impl Analysis {
    /// The analysis of a post without text.
    pub(crate) fn empty() -> Self {
        Self {
            language: UNDETERMINED.to_owned(),
            sentiment: Scored { label: "neutral".to_owned(), score: 0.0, unsure: true },
            category: unknown_category(),
            topics: Vec::new(),
        }
    }
}

/// The category of a post without a topic.
pub(crate) fn unknown_category() -> Scored {
    Scored { label: UNKNOWN.to_owned(), score: 0.0, unsure: true }
}

/// The model that gave an answer. It is part of every result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    pub name: String,
    pub version: String,
    /// Whether rules answered instead of a model.
    pub fallback: bool,
}
