//! The model: its folder, the encoder that turns texts into embeddings, and the heads that label
//! them.

mod encoder;
mod error;
mod folder;
mod heads;
mod provider;

pub use encoder::{Encoder, Encoders, MAX_TOKENS, Placement};
pub use error::ModelError;
pub use folder::{DIMENSIONS, Folder, Manifest};
pub use heads::{Head, Heads, Scored};
pub use provider::{Precision, Provider};
