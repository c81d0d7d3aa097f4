//! Inputs and outputs of the child jobs of an analysis.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Input of a cdn job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesInput {
    /// URLs without duplicates, at most 100.
    pub urls: Vec<String>,
}

/// Output of a cdn job: one record per URL of its input, in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesOutput {
    pub images: Vec<ImageRecord>,
}

/// The outcome of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageRecord {
    /// The image was fetched and decoded.
    Verified {
        url: String,
        /// SHA-256 of the bytes as fetched, in hex.
        sha256: String,
        /// `jpeg`, `png`, `gif` or `webp`.
        format: String,
        /// Pixels, after the EXIF orientation is applied.
        width: u32,
        height: u32,
        bytes: usize,
        /// Object keys; absent without an object store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored: Option<StoredImage>,
    },
    /// The image failed permanently.
    Failed {
        url: String,
        /// A stable code, for instance `not-found`.
        error: String,
    },
}

impl ImageRecord {
    /// The URL that the record is about.
    pub fn url(&self) -> &str {
        match self {
            Self::Verified { url, .. } | Self::Failed { url, .. } => url,
        }
    }
}

/// Object keys of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    pub original: String,
    /// Keys by the limit of the longest side in pixels.
    pub thumbnails: BTreeMap<String, String>,
}

/// Input of an ai job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassificationInput {
    pub posts: Vec<PostText>,
    /// Whether rules may answer if the model is unavailable. Otherwise the job fails and retries.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub rules: bool,
}

const fn yes() -> bool {
    true
}

/// The text of one post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostText {
    pub id: String,
    pub text: String,
}

/// Output of an ai job: one entry per post of its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationOutput {
    pub model: Model,
    pub posts: Vec<ClassifiedPost>,
}

/// The model that classified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub version: String,
    /// Whether rules answered instead of the model.
    pub fallback: bool,
}

/// The labels of one post.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassifiedPost {
    pub id: String,
    /// ISO 639-1, or `und`.
    pub language: String,
    pub sentiment: Label,
    pub category: Label,
    /// Topics with a score of at least 0.5, best first.
    #[serde(default)]
    pub topics: Vec<Label>,
}

/// A label with the model's confidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub label: String,
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Whether the confidence is too low to rely on: the label is only a best guess.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
}

/// Input of a discovery job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryInput {
    /// Usernames, best first.
    pub related: Vec<String>,
}

/// Output of a discovery job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryOutput {
    /// Usernames whose analysis was queued.
    pub usernames: Vec<String>,
}
