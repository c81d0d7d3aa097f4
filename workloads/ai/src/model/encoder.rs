use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    inputs,
    session::{Session, builder::PrepackedWeights},
    value::TensorRef,
};
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use super::{Folder, ModelError, folder::Probe};

/// Numbers in an embedding.
pub const WIDTH: usize = 384;

/// Tokens of a post that are read, the beginning and end markers and the prefix among them; the rest is cut.
/// A post of 280 characters has 20 to 120.
pub const MAX_TOKENS: usize = 160;

/// What this model was trained to see before a text that is not a passage to be searched.
const PREFIX: &str = "query: ";

/// Least cosine between the encoder's answer to its probe and the recorded one. Rounding leaves 0.997; a kernel that computes rubbish is far below.
const PROBE_FLOOR: f32 = 0.98;

/// Turns texts into vectors of length 1. One post at a time, on the calling thread: the activations' rounding depends on all that runs
/// together, so that a post in company would get a slightly different answer, and padding makes batches slower on a processor.
pub struct Encoder {
    session: Session,
    tokenizer: Tokenizer,
    probe: Probe,
}

impl Encoder {
    /// Loads `count` encoders, for as many threads; they share what they can. Takes seconds and about 150 MB, and 100 MB for each further one.
    pub fn load(folder: &Folder, count: usize) -> Result<Vec<Self>, ModelError> {
        let environment = environment(&folder.checked_path("libonnxruntime.so")?)?;
        let tokenizer = tokenizer(folder)?;
        let model = folder.checked_path("encoder.onnx")?;
        let probe = folder.probe()?;
        let shared = PrepackedWeights::new();
        (0..count)
            .map(|_| {
                let session = session(&environment, &shared, &model)?;
                Ok(Self { session, tokenizer: tokenizer.clone(), probe: probe.clone() })
            })
            .collect()
    }

    /// What the encoder reads of a normalised text: at most [`MAX_TOKENS`] numbers of words and parts of words.
    pub fn tokens(&self, text: &str) -> Result<Vec<i64>, ModelError> {
        let encoding = self
            .tokenizer
            .encode_fast(format!("{PREFIX}{text}"), true)
            .map_err(|error| ModelError::Run(format!("tokenizer: {error}")))?;
        Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
    }

    /// The vector of a normalised text, of length 1.
    pub fn embed(&mut self, text: &str) -> Result<Vec<f32>, ModelError> {
        let ids = self.tokens(text)?;
        let mask = vec![1i64; ids.len()];
        let shape = [1, ids.len()];
        let outputs = self
            .session
            .run(inputs![
                "input_ids" => TensorRef::from_array_view((shape, ids.as_slice())).map_err(run)?,
                "attention_mask" => TensorRef::from_array_view((shape, mask.as_slice())).map_err(run)?,
            ])
            .map_err(run)?;
        let output =
            outputs.get("embedding").ok_or_else(|| ModelError::Run("it has no output 'embedding'".to_owned()))?;
        let (_, values) = output.try_extract_tensor::<f32>().map_err(run)?;
        if values.len() != WIDTH || values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::Run(format!("{} numbers, or some that are none", values.len())));
        }
        Ok(values.to_vec())
    }

    /// Runs the encoder on a text whose answer is known.
    pub fn check(&mut self) -> Result<(), ModelError> {
        let text = self.probe.text.clone();
        let found = self.embed(&text)?;
        let cosine = found.iter().zip(&self.probe.embedding).map(|(a, b)| a * b).sum::<f32>();
        if cosine >= PROBE_FLOOR { Ok(()) } else { Err(ModelError::WrongAnswer { cosine, least: PROBE_FLOOR }) }
    }
}

fn run(error: ort::Error) -> ModelError {
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

fn session(environment: &Environment, shared: &PrepackedWeights, model: &Path) -> Result<Session, ModelError> {
    let open = || -> ort::Result<Session> {
        Session::builder(environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_prepacked_weights(shared)?
            // Shapes change with every post: planned memory would be kept for each of them.
            .with_memory_pattern(false)?
            .commit_from_file(model)
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
