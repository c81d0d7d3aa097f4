//! The encoder: multilingual-e5-small (Wang et al., 2024, arXiv:2402.05672), tuned, on ONNX
//! Runtime.

use std::{path::Path, sync::Arc};

use ort::{
    environment::Environment,
    ep, inputs,
    session::{Session, builder::PrepackedWeights},
    value::TensorRef,
};
use parking_lot::Mutex;
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use super::{
    error::ModelError,
    folder::{DIMENSIONS, Folder, Probe},
    provider::{Precision, Provider},
};

/// Most tokens of a post, including the markers and the prefix; the rest is cut off. A post of 280
/// characters has 20 to 120.
pub const MAX_TOKENS: usize = 160;

/// The prefix that the model was trained with for texts other than passages to search.
const PREFIX: &str = "query: ";

/// Least cosine between the embedding of the probe and the recorded one. Rounding leaves 0.997; a
/// broken kernel is far below.
const MIN_PROBE_COSINE: f32 = 0.98;

/// Turns texts into embeddings of length 1. It blocks the calling thread, on a GPU as well.
pub struct Encoder {
    session: Session,
    tokenizer: Arc<Tokenizer>,
    probe: Probe,
    precision: Precision,
}

/// Encoders, one per thread, and where they run.
pub struct Encoders {
    pub encoders: Vec<Encoder>,
    pub placement: Placement,
}

/// The requested and the actual execution provider of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub requested: Provider,
    pub actual: Provider,
    /// Why the two differ, on one line; `None` if they are equal.
    pub reason: Option<String>,
}

impl Encoder {
    /// Loads `count` encoders, one per thread, which share the tokenizer and the weights.
    ///
    /// Takes seconds. The first encoder takes some 420 MB, half of it for the tokenizer; each
    /// further one takes 80 MB. If the GPU is not usable, the encoders run on the CPU and
    /// [`Placement::reason`] says why.
    ///
    /// # Errors
    /// A file is missing or differs from the manifest, or the encoder fails its probe.
    pub fn load(folder: &Folder, count: usize, requested: Provider) -> Result<Encoders, ModelError> {
        let environment = environment(&folder.checked_path("libonnxruntime.so")?)?;
        // Shared, because it is larger than everything else together.
        let (tokenizer, probe) = (Arc::new(tokenizer(folder)?), folder.probe()?);
        let load = |provider: Provider| -> Result<Vec<Self>, ModelError> {
            let model = folder.checked_path(provider.precision().file())?;
            if provider == Provider::Cuda {
                // ONNX Runtime loads it from the directory of its own library.
                folder.checked_path("libonnxruntime_providers_cuda.so")?;
            }
            let shared = PrepackedWeights::new();
            let encoder = |_| {
                let session = session(&environment, &shared, &model, provider)?;
                let tokenizer = Arc::clone(&tokenizer);
                let mut encoder = Self { session, tokenizer, probe: probe.clone(), precision: provider.precision() };
                // A provider that loads but computes wrong answers counts as unusable.
                encoder.check()?;
                Ok(encoder)
            };
            (0..count).map(encoder).collect()
        };
        match load(requested) {
            Ok(encoders) => {
                Ok(Encoders { encoders, placement: Placement { requested, actual: requested, reason: None } })
            }
            Err(error) if requested == Provider::Cuda => {
                let actual = Provider::Cpu;
                // The libraries' messages may span lines.
                let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                Ok(Encoders {
                    encoders: load(actual)?,
                    placement: Placement { requested, actual, reason: Some(reason) },
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The token ids of a normalised text, at most [`MAX_TOKENS`].
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<Vec<i64>, ModelError> {
        let encoding = self
            .tokenizer
            .encode_fast(format!("{PREFIX}{text}"), true)
            .map_err(|error| ModelError::Run(format!("tokenizer: {error}")))?;
        Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
    }

    /// Whether posts run in batches: see [`Precision`].
    pub const fn batches(&self) -> bool {
        matches!(self.precision, Precision::Float)
    }

    /// The embeddings of normalised texts, in the same order: [`DIMENSIONS`] numbers of length 1
    /// each. An encoder that batches runs texts of similar length together.
    ///
    /// # Errors
    /// ONNX Runtime fails, or returns numbers that are not finite.
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let tokens = texts.iter().map(|text| self.tokens(text)).collect::<Result<Vec<_>, _>>()?;
        let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
        let mut embeddings = vec![Vec::new(); texts.len()];
        let batches =
            if self.batches() { batches(&lengths) } else { (0..texts.len()).map(|post| vec![post]).collect() };
        for batch in batches {
            let rows: Vec<&[i64]> = batch.iter().map(|post| tokens[*post].as_slice()).collect();
            for (post, embedding) in batch.into_iter().zip(self.run(&rows)?) {
                embeddings[post] = embedding;
            }
        }
        Ok(embeddings)
    }

    /// Runs the model over rows of tokens, padded to the longest row.
    fn run(&mut self, rows: &[&[i64]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = [rows.len(), longest];
        let (mut ids, mut mask) = (vec![0i64; rows.len() * longest], vec![0i64; rows.len() * longest]);
        for (row, at) in rows.iter().zip((0..).step_by(longest.max(1))) {
            ids[at..at + row.len()].copy_from_slice(row);
            mask[at..at + row.len()].fill(1);
        }
        let outputs = self
            .session
            .run(inputs![
                "input_ids" => TensorRef::from_array_view((shape, ids.as_slice())).map_err(run_error)?,
                "attention_mask" => TensorRef::from_array_view((shape, mask.as_slice())).map_err(run_error)?,
            ])
            .map_err(run_error)?;
        let output =
            outputs.get("embedding").ok_or_else(|| ModelError::Run("it has no output 'embedding'".to_owned()))?;
        let (_, values) = output.try_extract_tensor::<f32>().map_err(run_error)?;
        if values.len() != DIMENSIONS * rows.len() || values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::Run(format!("it returned {} numbers, or some that are not finite", values.len())));
        }
        Ok(values.chunks_exact(DIMENSIONS).map(<[f32]>::to_vec).collect())
    }

    /// Runs the encoder on its probe.
    ///
    /// # Errors
    /// [`ModelError::WrongAnswer`] if the embedding differs from the recorded one.
    pub fn check(&mut self) -> Result<(), ModelError> {
        let text = self.probe.text.clone();
        let found = self.embed(&[&text])?.remove(0);
        let cosine = found.iter().zip(&self.probe.embedding).map(|(a, b)| a * b).sum::<f32>();
        if cosine >= MIN_PROBE_COSINE {
            Ok(())
        } else {
            Err(ModelError::WrongAnswer { cosine, least: MIN_PROBE_COSINE })
        }
    }
}

/// Groups posts of similar length, so that little of a batch is padding. The longest post of a
/// batch exceeds the shortest by at most a quarter, or by 8 tokens if that is more.
fn batches(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|post| lengths[*post]);
    let similar = |a: &usize, b: &usize| lengths[*b] <= lengths[*a] + (lengths[*a] / 4).max(8);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for post in order {
        match batches.last_mut() {
            Some(batch) if similar(&batch[0], &post) => batch.push(post),
            _ => batches.push(vec![post]),
        }
    }
    batches
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err requires")]
fn run_error(error: ort::Error) -> ModelError {
    ModelError::Run(error.to_string())
}

/// The environment of this process. ONNX Runtime allows only one, from one library.
fn environment(library: &Path) -> Result<Environment, ModelError> {
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut environment = ENVIRONMENT.lock();
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let library_error = |reason: String| ModelError::Library { path: library.to_owned(), reason };
    let created = ort::init_from(library)
        .map_err(|error| library_error(error.to_string()))?
        .build()
        .map_err(|error| library_error(error.to_string()))?;
    Ok(environment.insert(created).clone())
}

fn session(
    environment: &Environment,
    shared: &PrepackedWeights,
    model: &Path,
    provider: Provider,
) -> Result<Session, ModelError> {
    let open = || -> ort::Result<Session> {
        let mut builder = Session::builder(environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            // Shapes change with every post, and a plan would be kept for each shape.
            .with_memory_pattern(false)?;
        builder = match provider {
            // By default a session falls back to the CPU without an error.
            Provider::Cuda => builder.with_execution_providers([ep::CUDA::default()
                .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
                .build()
                .error_on_failure()])?,
            Provider::Cpu | Provider::CpuFloat => builder.with_prepacked_weights(shared)?,
        };
        builder.commit_from_file(model)
    };
    open().map_err(|error| ModelError::Invalid { path: model.to_owned(), reason: error.to_string() })
}

fn tokenizer(folder: &Folder) -> Result<Tokenizer, ModelError> {
    let name = "tokenizer.json";
    let invalid = |reason: String| ModelError::Invalid { path: name.into(), reason };
    let mut tokenizer = Tokenizer::from_bytes(folder.read(name)?).map_err(|error| invalid(error.to_string()))?;
    let truncation = TruncationParams {
        direction: TruncationDirection::Right,
        max_length: MAX_TOKENS,
        strategy: TruncationStrategy::LongestFirst,
        stride: 0,
    };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| invalid(error.to_string()))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn posts_of_similar_length_share_a_batch() {
        assert_eq!(batches(&[10, 100, 12, 110, 40]), [vec![0, 2], vec![4], vec![1, 3]]);
        assert!(batches(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn each_post_is_in_one_batch_with_little_padding(lengths in proptest::collection::vec(2..=MAX_TOKENS, 0..40)) {
            let batches = batches(&lengths);
            let mut posts: Vec<usize> = batches.concat();
            posts.sort_unstable();
            prop_assert_eq!(posts, (0..lengths.len()).collect::<Vec<_>>());
            for batch in batches {
                let (shortest, longest) = (lengths[batch[0]], lengths[*batch.last().unwrap()]);
                prop_assert!(longest <= shortest + (shortest / 4).max(8));
            }
        }
    }
}
