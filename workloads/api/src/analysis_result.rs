//! The schema of a finished analysis, for the OpenAPI document. Workers write results, and the API
//! returns their bytes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The result of a profile analysis.
#[derive(ToSchema, Serialize)]
pub struct AnalysisResult {
    /// The profile as its source describes it.
    pub profile: Map<String, Value>,
    /// The latest posts of the profile.
    pub posts: Vec<AnalysedPost>,
    pub aggregate: Aggregate,
    pub model: Model,
}

/// A post with its classifications.
#[derive(ToSchema, Serialize)]
pub struct AnalysedPost {
    pub id: String,
    /// ISO 639 code, or `und` if the language is undetermined.
    #[schema(example = "de")]
    pub language: String,
    pub sentiment: Judgement,
    /// The most likely topic.
    pub category: Judgement,
    /// All topics with a probability above one half, the category first.
    pub topics: Vec<Judgement>,
    /// Each with its `url` and either its stored copies or an `error`.
    pub images: Vec<Map<String, Value>>,
    /// The fields of the profile source, such as `url`, `at`, `text`, `likes` and `comments`.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A label with its confidence.
#[derive(ToSchema, Serialize)]
pub struct Judgement {
    #[schema(example = "positive")]
    pub label: String,
    /// The confidence of the model in the label.
    #[schema(minimum = 0, maximum = 1)]
    pub score: f64,
    /// True if the confidence is too low for the label to be reliable; absent otherwise.
    #[schema(required = false)]
    pub unsure: bool,
}

/// Figures over all posts. Shares are between 0 and 1.
#[derive(ToSchema, Serialize)]
pub struct Aggregate {
    /// Share of posts by language.
    pub languages: BTreeMap<String, f64>,
    /// Share of posts by sentiment.
    pub sentiment: BTreeMap<String, f64>,
    /// Share of posts by category.
    pub categories: BTreeMap<String, f64>,
    /// Mean of the likes and comments of a post, divided by the followers.
    #[schema(minimum = 0)]
    pub engagement_rate: f64,
}

/// The model that classified the posts.
#[derive(ToSchema, Serialize)]
pub struct Model {
    pub name: String,
    pub version: String,
    /// Whether rules classified a post because the model was unavailable. The model's result then
    /// replaces this one some minutes after it is available again.
    pub fallback: bool,
}
