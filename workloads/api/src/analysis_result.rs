//! The shape of a finished analysis, for the document alone: workers write it, and the API hands it on as it is.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The result of a profile analysis.
#[derive(ToSchema)]
pub struct AnalysisResult {
    /// The profile as its source describes it.
    pub profile: Map<String, Value>,
    /// Its latest posts.
    pub posts: Vec<AnalysedPost>,
    pub aggregate: Aggregate,
    pub model: Model,
}

/// A post with what the models say about it.
#[derive(ToSchema, Serialize)]
pub struct AnalysedPost {
    pub id: String,
    /// ISO 639, or `und` where it cannot be told.
    #[schema(example = "de")]
    pub language: String,
    pub sentiment: Judgement,
    /// The likeliest topic.
    pub category: Judgement,
    /// All topics that the post is more likely about than not, the category first.
    pub topics: Vec<Judgement>,
    /// Each with its `url` and either what was stored of it or an `error`.
    pub images: Vec<Map<String, Value>>,
    /// What the profile's source says about the post, such as `url`, `at`, `text`, `likes` and `comments`.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// What a model says.
#[derive(ToSchema, Serialize)]
pub struct Judgement {
    #[schema(example = "positive")]
    pub label: String,
    /// How sure the model is: of answers with 0.8, about four in five are right.
    #[schema(minimum = 0, maximum = 1)]
    pub score: f64,
    /// True where the model does not know and the label is only its best guess; left out otherwise.
    #[schema(required = false)]
    pub unsure: bool,
}

/// All posts together. Shares are between 0 and 1.
#[derive(ToSchema)]
pub struct Aggregate {
    /// Share of posts by language.
    pub languages: BTreeMap<String, f64>,
    /// Share of posts by sentiment.
    pub sentiment: BTreeMap<String, f64>,
    /// Share of posts by category.
    pub categories: BTreeMap<String, f64>,
    /// Mean of likes and comments of a post by follower.
    #[schema(minimum = 0)]
    pub engagement_rate: f64,
}

/// What judged.
#[derive(ToSchema)]
pub struct Model {
    pub name: String,
    pub version: String,
    /// Whether rules stood in for the model in any post. Then the result is replaced by the model's own once that is back, some minutes later.
    pub fallback: bool,
}
