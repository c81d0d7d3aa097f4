//! What an analysis and its child jobs say to each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Input of a cdn job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesWanted {
    /// Addresses, each once.
    pub urls: Vec<String>,
}

/// Output of a cdn job: one entry for each address, in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesHandled {
    pub images: Vec<ImageRecord>,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageRecord {
    /// It is what it claims to be.
    Verified {
        url: String,
        /// Of the bytes as fetched, in hex.
        sha256: String,
        format: String,
        /// Pixels, as shown.
        width: u32,
        height: u32,
        bytes: usize,
        /// Where it lies in the bucket; absent without an object store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored: Option<StoredImage>,
    },
    /// It cannot be had; trying again would not help.
    Failed {
        url: String,
        /// A stable code, for instance `not-found`.
        error: String,
    },
}

impl ImageRecord {
    /// The address that the record is about.
    pub fn url(&self) -> &str {
        match self {
            Self::Verified { url, .. } | Self::Failed { url, .. } => url,
        }
    }
}

/// Keys in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    pub original: String,
    /// By the longest side's limit in pixels.
    pub thumbnails: BTreeMap<String, String>,
}

/// Input of an ai job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextsToClassify {
    pub posts: Vec<TextToClassify>,
    /// Whether rules may stand in for a model that is away. Otherwise the job fails, to be tried again when the model may be back.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub rules: bool,
}

const fn yes() -> bool {
    true
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextToClassify {
    pub id: String,
    pub text: String,
}

/// Output of an ai job: one entry for each text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextsClassified {
    pub model: Model,
    pub posts: Vec<TextClassified>,
}

/// What classified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub version: String,
    /// Whether rules stood in for the model.
    pub fallback: bool,
}

/// One text's classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextClassified {
    pub id: String,
    /// ISO 639-1, or `und`.
    pub language: String,
    pub sentiment: Label,
    pub category: Label,
    /// All topics that it is likely about, best first.
    #[serde(default)]
    pub topics: Vec<Label>,
}

/// A class with the model's certainty, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub label: String,
    pub score: f64,
    /// Whether the model does not know, and this is its best guess.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
}

/// Input of a discovery job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilesRelated {
    /// Usernames, best first.
    pub related: Vec<String>,
}

/// Output of a discovery job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilesChosen {
    /// Usernames that were handed on to be analysed.
    pub usernames: Vec<String>,
}
