//! Errors of loading and running the model.

use std::path::PathBuf;

/// Why the model cannot be used. Messages name the file and say what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// A file of the model folder cannot be read.
    #[error(
        "{path} cannot be read ({reason}): build the model folder with `make models` and set SWITCHYARD_MODEL_DIR to it"
    )]
    Unreadable { path: PathBuf, reason: String },
    /// A file differs from the manifest: it is truncated, replaced, or of another build.
    #[error(
        "{path} does not match the manifest (SHA-256 {found}, not {expected}): rebuild the model folder with `make models`"
    )]
    Mismatch { path: PathBuf, found: String, expected: String },
    /// A file matches the manifest, but its contents are invalid.
    #[error("{path} is not usable: {reason}")]
    Invalid { path: PathBuf, reason: String },
    /// ONNX Runtime cannot be loaded.
    #[error("cannot load ONNX Runtime from {path}: {reason}")]
    Library { path: PathBuf, reason: String },
    /// A run of the encoder failed.
    #[error("the encoder failed: {0}")]
    Run(String),
    /// The encoder runs, but its answers are wrong.
    #[error(
        "the encoder gives a wrong answer to its probe (cosine {cosine:.4}, at least {least} expected): this build of ONNX Runtime does not fit this processor or model"
    )]
    WrongAnswer { cosine: f32, least: f32 },
}
