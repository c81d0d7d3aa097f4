//! The outputs of an analysis' children, indexed by what they are about.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use switchyard_contract::Kind;
use switchyard_jobs::{handler::ChildResult, model::JobError};

use super::state::AnalysisState;
use crate::children::{
    ClassificationOutput, ClassifiedPost, DiscoveryOutput, ImageRecord, ImagesInput, ImagesOutput, Model,
};

/// Outputs of all children, together with those of the first round of a correction.
#[derive(Default)]
pub struct ChildOutputs {
    /// By the id of the post.
    pub posts: HashMap<String, ClassifiedPost>,
    /// By URL.
    pub images: HashMap<String, ImageRecord>,
    pub discovered: Vec<String>,
    /// `None` if there was no post to classify.
    pub model: Option<Model>,
}

impl ChildOutputs {
    /// Collects the outputs of `children`. Dead cdn and discovery jobs only leave gaps.
    ///
    /// # Errors
    /// The error of a dead ai job, or `analysis-incomplete` if an output is malformed.
    pub fn collect(state: &AnalysisState, children: &[ChildResult]) -> Result<Self, JobError> {
        let mut outputs = Self { discovered: state.discovered.clone(), ..Self::default() };
        outputs.add_images(ImagesOutput { images: state.images.clone() });
        for child in children {
            match (child.kind, &child.result) {
                (Kind::Ai, Ok(output)) => outputs.add_posts(parse(output, "an ai job")?),
                (Kind::Ai, Err(error)) => return Err(error.clone()),
                (Kind::Cdn, Ok(output)) => outputs.add_images(parse(output, "a cdn job")?),
                (Kind::Cdn, Err(error)) => outputs.add_failed_images(parse(&child.input, "a cdn job")?, error),
                (Kind::Discovery, Ok(output)) => {
                    outputs.discovered = parse::<DiscoveryOutput>(output, "a discovery job")?.usernames;
                }
                // The result is complete without related profiles. The child records its own error.
                (Kind::Discovery, Err(_)) => {}
                (Kind::General, _) => {
                    return Err(JobError::permanent("analysis-incomplete", "an analysis is a child of another one"));
                }
            }
        }
        Ok(outputs)
    }

    /// The record of the image at `url`; a failed one if no child has it.
    pub fn image(&self, url: String) -> ImageRecord {
        let known = self.images.get(&url).cloned();
        known.unwrap_or_else(|| ImageRecord::Failed { url, error: "not-handled".to_owned() })
    }

    fn add_posts(&mut self, output: ClassificationOutput) {
        self.posts.extend(output.posts.into_iter().map(|post| (post.id.clone(), post)));
        match &mut self.model {
            // One chunk answered by rules marks the whole result.
            Some(model) => model.fallback |= output.model.fallback,
            none => *none = Some(output.model),
        }
    }

    fn add_images(&mut self, output: ImagesOutput) {
        self.images.extend(output.images.into_iter().map(|image| (image.url().to_owned(), image)));
    }

    fn add_failed_images(&mut self, input: ImagesInput, error: &JobError) {
        for url in input.urls {
            self.images.insert(url.clone(), ImageRecord::Failed { url, error: error.code.clone() });
        }
    }
}

fn parse<T: DeserializeOwned>(value: &Value, whose: &str) -> Result<T, JobError> {
    T::deserialize(value).map_err(|error| {
        JobError::permanent("analysis-incomplete", format!("the output of {whose} is malformed: {error}"))
    })
}
