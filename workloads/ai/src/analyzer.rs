//! Analyses posts with the model: language, sentiment and topics.

use std::{path::Path, sync::Arc};

use crate::{
    analysis::{Analysis, ModelInfo},
    language,
    model::{Encoder, Encoders, Folder, Heads, ModelError, Placement, Provider},
    text,
};

/// Topics with at least this confidence are listed.
const TOPIC_THRESHOLD: f32 = 0.5;

/// An analysis with the scores of all labels, for evaluation.
#[derive(Debug, Clone)]
pub struct DetailedAnalysis {
    pub analysis: Analysis,
    /// In the order of the labels of [`Heads::sentiment`]; empty for an empty post.
    pub sentiment: Vec<f32>,
    /// In the order of the labels of [`Heads::topics`]; empty for an empty post.
    pub topics: Vec<f32>,
}

/// The model of one thread.
pub struct Analyzer {
    encoder: Encoder,
    heads: Arc<Heads>,
}

/// A loaded model: one analyzer per thread, and what they have in common.
pub struct LoadedModel {
    pub analyzers: Vec<Analyzer>,
    pub info: ModelInfo,
    pub placement: Placement,
}

impl Analyzer {
    /// Loads the model folder at `root` for `count` threads. Checks every file against the manifest
    /// and runs the probe on each encoder, which also warms it up.
    ///
    /// # Errors
    /// As [`Encoder::load`] and [`Heads::load`].
    pub fn load(root: &Path, count: usize, requested: Provider) -> Result<LoadedModel, ModelError> {
        let folder = Folder::open(root)?;
        let heads = Arc::new(Heads::load(&folder)?);
        let Encoders { encoders, placement } = Encoder::load(&folder, count, requested)?;
        let analyzers = encoders.into_iter().map(|encoder| Self { encoder, heads: Arc::clone(&heads) }).collect();
        let info = ModelInfo {
            name: folder.manifest().name.clone(),
            version: folder.manifest().version.clone(),
            fallback: false,
        };
        Ok(LoadedModel { analyzers, info, placement })
    }

    /// Analyses posts. An answer does not depend on the other posts, except for the last digits if
    /// the encoder [batches](Encoder::batches).
    ///
    /// # Errors
    /// As [`Encoder::embed`].
    pub fn analyze(&mut self, posts: &[&str]) -> Result<Vec<Analysis>, ModelError> {
        Ok(self.analyze_detailed(posts)?.into_iter().map(|detailed| detailed.analysis).collect())
    }

    /// As [`Analyzer::analyze`], with the scores of all labels.
    ///
    /// # Errors
    /// As [`Encoder::embed`].
    pub fn analyze_detailed(&mut self, posts: &[&str]) -> Result<Vec<DetailedAnalysis>, ModelError> {
        let texts: Vec<String> = posts.iter().map(|post| text::normalise(post)).collect();
        let non_empty: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let mut embeddings = self.encoder.embed(&non_empty)?.into_iter();
        let analyze = |text: &String| {
            if text.is_empty() {
                Ok(DetailedAnalysis { analysis: Analysis::empty(), sentiment: Vec::new(), topics: Vec::new() })
            } else {
                embeddings
                    .next()
                    .map(|embedding| self.classify(text, &embedding))
                    .ok_or_else(|| ModelError::Run("it returned too few embeddings".to_owned()))
            }
        };
        texts.iter().map(analyze).collect()
    }

    fn classify(&self, text: &str, embedding: &[f32]) -> DetailedAnalysis {
        let sentiment = self.heads.sentiment.softmax(embedding);
        let topics = self.heads.topics.sigmoid(embedding);
        let analysis = Analysis {
            language: language::detect(&text::prose(text)).code.to_owned(),
            sentiment: self.heads.sentiment.best(&sentiment),
            category: self.heads.topics.best(&topics),
            topics: self.heads.topics.above(&topics, TOPIC_THRESHOLD),
        };
        DetailedAnalysis { analysis, sentiment, topics }
    }

    /// Whether posts are answered faster in batches than one by one.
    pub const fn batches(&self) -> bool {
        self.encoder.batches()
    }

    /// Runs the encoder on its probe.
    ///
    /// # Errors
    /// As [`Encoder::check`].
    pub fn check(&mut self) -> Result<(), ModelError> {
        self.encoder.check()
    }
}
