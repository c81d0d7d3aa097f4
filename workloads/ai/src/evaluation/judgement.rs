//! A labelled post, and how the model's answer compares with its labels.

use serde::Deserialize;

use super::language_names::code;
use crate::analyzer::DetailedAnalysis;

/// A labelled post, one JSON object per line of a file. Every label is optional.
#[derive(Debug, Clone, Deserialize)]
pub struct LabelledPost {
    /// An ISO 639-1 code or an English name.
    #[serde(default)]
    pub lang: Option<String>,
    pub text: String,
    /// negative, neutral or positive.
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    pub topics: Option<Vec<String>>,
}

/// The comparison of an answer with the labels of its post.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The labelled and the predicted language.
    pub(super) language: Option<(String, String)>,
    /// The labelled and the predicted index into [`SENTIMENTS`], and the confidence.
    pub(super) sentiment: Option<(usize, usize, f32)>,
    /// For a post that is not neutral: whether the more likely of negative and positive is right.
    pub(super) polarity: Option<bool>,
    /// The confidence of the best topic, and whether it is among the labels.
    pub(super) topic: Option<(f32, bool)>,
}

/// In the order of the sentiment head's labels.
const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];

impl Judgement {
    /// Compares the answer for `post` with its labels.
    pub fn new(post: &LabelledPost, answer: &DetailedAnalysis) -> Self {
        let language = post.lang.as_deref().map(|lang| (code(lang), answer.analysis.language.clone()));
        let index = |label: &str| SENTIMENTS.iter().position(|known| *known == label);
        let sentiment = post
            .label
            .as_deref()
            .and_then(index)
            .zip(index(&answer.analysis.sentiment.label))
            .map(|(right, label)| (right, label, answer.analysis.sentiment.score));
        let polarity = match sentiment {
            Some((right @ (0 | 2), ..)) => {
                let positive = answer.sentiment.len() == 3 && answer.sentiment[2] > answer.sentiment[0];
                Some(positive == (right == 2))
            }
            _ => None,
        };
        let topic = post
            .topics
            .as_ref()
            .map(|topics| (answer.analysis.category.score, topics.contains(&answer.analysis.category.label)));
        Self { language, sentiment, polarity, topic }
    }
}
