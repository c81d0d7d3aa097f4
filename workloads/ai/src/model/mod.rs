//! The model folder, the encoder and the heads.

mod encoder;
mod folder;
mod heads;
mod provider;

pub use encoder::{Encoder, Encoders, MAX_TOKENS, Runs, WIDTH};
pub use folder::{Folder, Manifest};
pub use heads::{Head, Heads, Scored};
pub use provider::{Precision, Provider};

use std::path::PathBuf;

/// Why the model cannot be used. Each message says which file and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// A file of the folder is not there.
    #[error(
        "{path} cannot be read ({reason}): build the model folder with `make models` and name it by SWITCHYARD_MODEL_DIR"
    )]
    Unreadable { path: PathBuf, reason: String },
    /// A file is not the one that the manifest was written for: cut short, swapped, or of another build.
    #[error(
        "{path} is not the file of the manifest (SHA-256 {found}, not {expected}): build the model folder anew with `make models`"
    )]
    Swapped { path: PathBuf, found: String, expected: String },
    /// A file is whole but not what this program understands.
    #[error("{path} is not usable: {reason}")]
    Invalid { path: PathBuf, reason: String },
    /// ONNX Runtime could not be loaded.
    #[error("cannot load ONNX Runtime from {path}: {reason}")]
    Library { path: PathBuf, reason: String },
    /// ONNX Runtime refused to run.
    #[error("the encoder failed: {0}")]
    Run(String),
    /// The encoder runs and its answers are wrong.
    #[error(
        "the encoder gives a wrong answer to its probe (cosine {cosine:.4}, least is {least}): this build of ONNX Runtime does not fit this processor or model"
    )]
    WrongAnswer { cosine: f32, least: f32 },
}
