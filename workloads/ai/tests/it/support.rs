//! Shared fixtures: the model folder, and a progress that is discarded.

use std::path::PathBuf;

use switchyard_jobs::handler::Progress;

/// The model folder: `SWITCHYARD_MODEL_DIR`, or the one that `make models` links.
pub fn model_dir() -> PathBuf {
    let cache = || match std::env::var_os("SWITCHYARD_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").expect("a home directory")).join(".cache/switchyard"),
    };
    let folder = std::env::var_os("SWITCHYARD_MODEL_DIR").map_or_else(|| cache().join("models/current"), PathBuf::from);
    assert!(folder.join("manifest.json").exists(), "no model in {}: run `make models`", folder.display());
    folder
}

/// Discards the reported progress.
pub struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _percent: u8, _stage: &str) {}
}
