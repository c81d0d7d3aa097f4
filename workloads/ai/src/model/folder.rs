//! The model folder: a manifest, and files that are checked against it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::error::ModelError;

/// Dimensions of an embedding.
pub const DIMENSIONS: usize = 384;

/// `manifest.json`, as `models/build` writes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// Name of the model, for instance `switchyard-e5-small`.
    pub name: String,
    /// First 12 hex digits of the SHA-256 over the contents of the folder.
    pub version: String,
    /// SHA-256 in hex by file name.
    files: BTreeMap<String, String>,
    probe: RawProbe,
}

#[derive(Debug, Clone, Deserialize)]
struct RawProbe {
    text: String,
    embedding: String,
}

/// A model folder whose manifest has been read. Files are checked when they are read.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    manifest: Manifest,
}

/// A text and the embedding that the encoder must give it, [`DIMENSIONS`] numbers of length 1.
#[derive(Debug, Clone)]
pub struct Probe {
    pub text: String,
    pub embedding: Vec<f32>,
}

impl Folder {
    /// Reads the manifest of the folder at `root`.
    ///
    /// # Errors
    /// The manifest cannot be read or is invalid.
    pub fn open(root: &Path) -> Result<Self, ModelError> {
        let path = root.join("manifest.json");
        let manifest = serde_json::from_slice(&read(&path)?)
            .map_err(|error| ModelError::Invalid { path, reason: error.to_string() })?;
        Ok(Self { root: root.to_owned(), manifest })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The contents of a file, checked against the manifest.
    ///
    /// # Errors
    /// The file cannot be read, is not listed, or differs from the manifest.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        let path = self.root.join(name);
        let contents = read(&path)?;
        self.compare(name, path, Sha256::digest(&contents).as_slice())?;
        Ok(contents)
    }

    /// The path of a file that is checked against the manifest without holding it in memory.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn checked_path(&self, name: &str) -> Result<PathBuf, ModelError> {
        let path = self.root.join(name);
        let unreadable =
            |error: std::io::Error| ModelError::Unreadable { path: path.clone(), reason: error.to_string() };
        let mut file = fs::File::open(&path).map_err(unreadable)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer).map_err(unreadable)? {
                0 => break,
                length => hasher.update(&buffer[..length]),
            }
        }
        self.compare(name, path.clone(), hasher.finalize().as_slice())?;
        Ok(path)
    }

    /// The SHA-256 of `name` according to the manifest, in hex.
    ///
    /// # Errors
    /// The manifest does not list `name`.
    pub fn sha256(&self, name: &str) -> Result<&str, ModelError> {
        self.manifest.files.get(name).map(String::as_str).ok_or_else(|| ModelError::Invalid {
            path: self.root.join("manifest.json"),
            reason: format!("it does not list {name}"),
        })
    }

    /// The probe of the encoder.
    pub(super) fn probe(&self) -> Result<Probe, ModelError> {
        let invalid = |reason: String| ModelError::Invalid { path: self.root.join("manifest.json"), reason };
        let RawProbe { text, embedding } = &self.manifest.probe;
        let bytes = STANDARD.decode(embedding).map_err(|error| invalid(format!("the probe's embedding: {error}")))?;
        if bytes.len() != 4 * DIMENSIONS {
            return Err(invalid(format!("the probe's embedding has {} bytes, not {}", bytes.len(), 4 * DIMENSIONS)));
        }
        let embedding = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        Ok(Probe { text: text.clone(), embedding })
    }

    fn compare(&self, name: &str, path: PathBuf, digest: &[u8]) -> Result<(), ModelError> {
        let (found, expected) = (hex::encode(digest), self.sha256(name)?);
        if found == expected {
            Ok(())
        } else {
            Err(ModelError::Mismatch { path, found, expected: expected.to_owned() })
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|error| ModelError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}
