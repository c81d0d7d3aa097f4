//! One post in, its language, sentiment and category out.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::{
    language::{self, UNDETERMINED},
    model::{Encoder, Encoders, Folder, Heads, ModelError, Provider, Runs, Scored},
    text,
};

/// The category of a post that nothing can be said about: it is empty, or only rules were at hand.
pub const UNKNOWN: &str = "unknown";

/// A topic of at least this confidence is one of a post's topics.
const LIKELY: f32 = 0.5;

/// What a post is about and how it feels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// ISO 639-1, or `und` for a text without letters.
    pub language: String,
    /// negative, neutral or positive, with the model's confidence. An empty post is neutral with a score of 0.
    pub sentiment: Scored,
    /// One of the topics, with the model's confidence that the post is about it. An empty post is [`UNKNOWN`] with a score of 0.
    pub category: Scored,
    /// All topics that the post is more likely about than not, the category first. Empty where that is [`UNKNOWN`].
    pub topics: Vec<Scored>,
}

/// Which model gave an answer; part of every result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    pub name: String,
    pub version: String,
    /// Whether only rules were at hand.
    pub fallback: bool,
}

/// An analysis with every score behind it, for evaluation.
#[derive(Debug, Clone)]
pub struct Detail {
    pub analysis: Analysis,
    /// In the order of [`Heads::sentiment`]'s labels; empty for an empty post.
    pub sentiment: Vec<f32>,
    /// In the order of [`Heads::topics`]' labels; empty for an empty post.
    pub topics: Vec<f32>,
}

/// The models, for one thread.
pub struct Analyzer {
    encoder: Encoder,
    heads: Arc<Heads>,
}

/// Analysers for as many threads, and what they have in common.
pub struct Analyzers {
    pub analyzers: Vec<Analyzer>,
    pub info: ModelInfo,
    pub runs: Runs,
}

impl Analyzer {
    /// Loads the model folder at `root` for `count` threads, checks every file in it against its manifest, and has every encoder answer a text whose
    /// answer is known: the first post is as fast as any.
    pub fn load(root: &Path, count: usize, wanted: Provider) -> Result<Analyzers, ModelError> {
        let folder = Folder::open(root)?;
        let heads = Arc::new(Heads::load(&folder)?);
        let Encoders { encoders, runs } = Encoder::load(&folder, count, wanted)?;
        let analyzers = encoders.into_iter().map(|encoder| Self { encoder, heads: Arc::clone(&heads) }).collect();
        let info = ModelInfo {
            name: folder.manifest().name.clone(),
            version: folder.manifest().version.clone(),
            fallback: false,
        };
        Ok(Analyzers { analyzers, info, runs })
    }

    /// Analyses posts; the answer to one does not depend on the others, but for the last digits where the encoder [batches](Encoder::batches).
    pub fn analyze(&mut self, posts: &[&str]) -> Result<Vec<Analysis>, ModelError> {
        Ok(self.details(posts)?.into_iter().map(|detail| detail.analysis).collect())
    }

    /// As [`Analyzer::analyze`], with all scores.
    pub fn details(&mut self, posts: &[&str]) -> Result<Vec<Detail>, ModelError> {
        let texts: Vec<String> = posts.iter().map(|post| text::normalise(post)).collect();
        let read: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let mut vectors = self.encoder.embed(&read)?.into_iter();
        let detail = |text: &String| match text.is_empty() {
            true => Ok(Detail { analysis: nothing(), sentiment: Vec::new(), topics: Vec::new() }),
            false => vectors
                .next()
                .map(|vector| self.of(text, &vector))
                .ok_or_else(|| ModelError::Run("it gave fewer answers than it was asked for".to_owned())),
        };
        texts.iter().map(detail).collect()
    }

    /// What a text's vector says.
    fn of(&self, text: &str, vector: &[f32]) -> Detail {
        let sentiment = self.heads.sentiment.one_of(vector);
        let topics = self.heads.topics.any_of(vector);
        let analysis = Analysis {
            language: language::detect(&text::prose(text)).code.to_owned(),
            sentiment: self.heads.sentiment.best(&sentiment),
            category: self.heads.topics.best(&topics),
            topics: self.heads.topics.all_from(&topics, LIKELY),
        };
        Detail { analysis, sentiment, topics }
    }

    /// Whether posts that are asked together are answered faster than one by one.
    pub const fn batches(&self) -> bool {
        self.encoder.batches()
    }

    /// The labels and weights that answers come from.
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Runs the encoder on a text whose answer is known.
    pub fn check(&mut self) -> Result<(), ModelError> {
        self.encoder.check()
    }
}

/// What is said about a post without anything to read in it.
pub(crate) fn nothing() -> Analysis {
    Analysis {
        language: UNDETERMINED.to_owned(),
        sentiment: Scored { label: "neutral".to_owned(), score: 0.0, unsure: true },
        category: unknown(),
        topics: Vec::new(),
    }
}

/// The category where there is none, which is never sure.
pub(crate) fn unknown() -> Scored {
    Scored { label: UNKNOWN.to_owned(), score: 0.0, unsure: true }
}
