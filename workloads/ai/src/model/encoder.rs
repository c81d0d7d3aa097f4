use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    ep, inputs,
    session::{Session, builder::PrepackedWeights},
    value::TensorRef,
};
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use super::{Folder, ModelError, Precision, Provider, folder::Probe};

/// Numbers in an embedding.
pub const WIDTH: usize = 384;

/// Tokens of a post that are read, the beginning and end markers and the prefix among them; the rest is cut.
/// A post of 280 characters has 20 to 120.
pub const MAX_TOKENS: usize = 160;

/// What this model was trained to see before a text that is not a passage to be searched.
const PREFIX: &str = "query: ";

/// Least cosine between the encoder's answer to its probe and the recorded one. Rounding leaves 0.997; a kernel that computes rubbish is far below.
const PROBE_FLOOR: f32 = 0.98;

/// Turns texts into vectors of length 1, on the calling thread or on the GPU that it waits for.
pub struct Encoder {
    session: Session,
    tokenizer: Arc<Tokenizer>,
    probe: Probe,
    precision: Precision,
}

/// Encoders for as many threads, and where they run.
pub struct Encoders {
    pub encoders: Vec<Encoder>,
    pub runs: Runs,
}

/// Where a model runs, and why not where it was to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    pub wanted: Provider,
    pub on: Provider,
    /// Why the two differ.
    pub reason: Option<String>,
}

impl Encoder {
    /// Loads `count` encoders, for as many threads; they share what they can. Takes seconds and some 420 MB, of which the tokenizer
    /// is a half, and 80 MB for each further one.
    ///
    /// Where a GPU is wanted and cannot be had, for whatever reason, they run on the processor, and [`Runs::reason`] says why.
    pub fn load(folder: &Folder, count: usize, wanted: Provider) -> Result<Encoders, ModelError> {
        let environment = environment(&folder.checked_path("libonnxruntime.so")?)?;
        // One for all: it is larger than everything else together.
        let (tokenizer, probe) = (Arc::new(tokenizer(folder)?), folder.probe()?);
        let load = |provider: Provider| -> Result<Vec<Self>, ModelError> {
            let model = folder.checked_path(provider.precision().file())?;
            if provider == Provider::Cuda {
                // ONNX Runtime loads it by itself, from beside its own library.
                folder.checked_path("libonnxruntime_providers_cuda.so")?;
            }
            let shared = PrepackedWeights::new();
            let encoder = |_| {
                let session = session(&environment, &shared, &model, provider)?;
                let tokenizer = Arc::clone(&tokenizer);
                let mut encoder = Self { session, tokenizer, probe: probe.clone(), precision: provider.precision() };
                // A provider that loads and computes nothing, or rubbish, is as good as none.
                encoder.check()?;
                Ok(encoder)
            };
            (0..count).map(encoder).collect()
        };
        match load(wanted) {
            Ok(encoders) => Ok(Encoders { encoders, runs: Runs { wanted, on: wanted, reason: None } }),
            Err(error) if wanted == Provider::Cuda => {
                let on = Provider::Cpu;
                // A line, whatever the libraries make of it.
                let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                Ok(Encoders { encoders: load(on)?, runs: Runs { wanted, on, reason: Some(reason) } })
            }
            Err(error) => Err(error),
        }
    }

    /// What the encoder reads of a normalised text: at most [`MAX_TOKENS`] numbers of words and parts of words.
    pub fn tokens(&self, text: &str) -> Result<Vec<i64>, ModelError> {
        let encoding = self
            .tokenizer
            .encode_fast(format!("{PREFIX}{text}"), true)
            .map_err(|error| ModelError::Run(format!("tokenizer: {error}")))?;
        Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
    }

    /// Whether several posts may go through at once: see [`Precision`].
    pub const fn batches(&self) -> bool {
        matches!(self.precision, Precision::Float)
    }

    /// The vectors of normalised texts, of length 1. An encoder that batches runs them together, those of like length; any other one by one.
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let tokens = texts.iter().map(|text| self.tokens(text)).collect::<Result<Vec<_>, _>>()?;
        let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
        let mut vectors = vec![Vec::new(); texts.len()];
        let buckets =
            if self.batches() { buckets(&lengths) } else { (0..texts.len()).map(|post| vec![post]).collect() };
        for bucket in buckets {
            let rows: Vec<&[i64]> = bucket.iter().map(|post| tokens[*post].as_slice()).collect();
            for (post, vector) in bucket.into_iter().zip(self.run(&rows)?) {
                vectors[post] = vector;
            }
        }
        Ok(vectors)
    }

    /// One run of the model over rows of tokens, padded to the longest.
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
                "input_ids" => TensorRef::from_array_view((shape, ids.as_slice())).map_err(failed)?,
                "attention_mask" => TensorRef::from_array_view((shape, mask.as_slice())).map_err(failed)?,
            ])
            .map_err(failed)?;
        let output =
            outputs.get("embedding").ok_or_else(|| ModelError::Run("it has no output 'embedding'".to_owned()))?;
        let (_, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        if values.len() != WIDTH * rows.len() || values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::Run(format!("{} numbers, or some that are none", values.len())));
        }
        Ok(values.chunks_exact(WIDTH).map(<[f32]>::to_vec).collect())
    }

    /// Runs the encoder on a text whose answer is known.
    pub fn check(&mut self) -> Result<(), ModelError> {
        let text = self.probe.text.clone();
        let found = self.embed(&[&text])?.remove(0);
        let cosine = found.iter().zip(&self.probe.embedding).map(|(a, b)| a * b).sum::<f32>();
        if cosine >= PROBE_FLOOR { Ok(()) } else { Err(ModelError::WrongAnswer { cosine, least: PROBE_FLOOR }) }
    }
}

/// Posts by like length: in none of the groups is the longest over a quarter longer than the shortest, or 8 tokens where that is more. So of a batch
/// little is padding.
fn buckets(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|post| lengths[*post]);
    let like = |a: &usize, b: &usize| lengths[*b] <= lengths[*a] + (lengths[*a] / 4).max(8);
    let mut buckets: Vec<Vec<usize>> = Vec::new();
    for post in order {
        match buckets.last_mut() {
            Some(bucket) if like(&bucket[0], &post) => bucket.push(post),
            _ => buckets.push(vec![post]),
        }
    }
    buckets
}

fn failed(error: ort::Error) -> ModelError {
    ModelError::Run(error.to_string())
}

/// ONNX Runtime allows one environment in a process, and one library.
fn environment(library: &Path) -> Result<Environment, ModelError> {
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let failed = |reason: String| ModelError::Library { path: library.to_owned(), reason };
    let made = ort::init_from(library)
        .map_err(|error| failed(error.to_string()))?
        .build()
        .map_err(|error| failed(error.to_string()))?;
    Ok(environment.insert(made).clone())
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
            // Shapes change with every post: planned memory would be kept for each of them.
            .with_memory_pattern(false)?;
        builder = match provider {
            // Unless told so, a session whose provider cannot be had runs on the processor and says nothing.
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
    fn posts_of_like_length_run_together() {
        assert_eq!(buckets(&[10, 100, 12, 110, 40]), [vec![0, 2], vec![4], vec![1, 3]]);
        assert!(buckets(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_post_is_in_one_bucket_and_little_of_it_is_padding(lengths in proptest::collection::vec(2..=MAX_TOKENS, 0..40)) {
            let buckets = buckets(&lengths);
            let mut posts: Vec<usize> = buckets.concat();
            posts.sort_unstable();
            prop_assert_eq!(posts, (0..lengths.len()).collect::<Vec<_>>());
            for bucket in buckets {
                let (shortest, longest) = (lengths[bucket[0]], lengths[*bucket.last().unwrap()]);
                prop_assert!(longest <= shortest + (shortest / 4).max(8));
            }
        }
    }
}
