//! The key of the admin API, as mounted; a changed file counts from then on without a restart.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use switchyard_contract::{Mount, files};
use tokio_util::sync::CancellationToken;

/// The admin key; only its hash is kept.
#[derive(Clone)]
pub struct AdminKey(Arc<RwLock<[u8; 32]>>);

impl AdminKey {
    /// Reads the mounted key. A missing or blank one is an error: an empty key must not open anything.
    pub fn load(mount: &Mount) -> Result<Self, files::FileError> {
        Ok(Self(Arc::new(RwLock::new(read(mount)?))))
    }

    /// Whether `given` is the key. Takes the same time for every wrong key.
    pub fn matches(&self, given: &str) -> bool {
        let known = *self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        hash(given).ct_eq(&known).into()
    }

    /// Looks at the file every `interval` and reads it again when it has changed, until `stop`. A file that is gone or blank leaves the last key in force.
    pub async fn follow(self, mount: Mount, interval: Duration, stop: CancellationToken) {
        let path = mount.secret_path(files::ADMIN_KEY);
        let mut seen = modified(&path).await;
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            let now = modified(&path).await;
            if now == seen {
                continue;
            }
            match read(&mount) {
                Ok(key) => {
                    *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = key;
                    seen = now;
                    tracing::info!("the admin key has changed");
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin key could not be read again; the last one stays in force")
                }
            }
        }
    }
}

async fn modified(path: &PathBuf) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.ok()?.modified().ok()
}

fn read(mount: &Mount) -> Result<[u8; 32], files::FileError> {
    let key: SecretString = mount.secret(files::ADMIN_KEY)?;
    if key.expose_secret().is_empty() {
        let path = mount.secret_path(files::ADMIN_KEY);
        return Err(files::FileError::Invalid { path, reason: "the key is empty".to_owned() });
    }
    Ok(hash(key.expose_secret()))
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(key: &str) -> (tempfile::TempDir, Mount) {
        let folder = tempfile::tempdir().unwrap();
        let mount = Mount::at(folder.path());
        let path = mount.secret_path(files::ADMIN_KEY);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, key).unwrap();
        (folder, mount)
    }

    #[test]
    fn only_the_mounted_key_matches() {
        let (_folder, mount) = mounted("correct horse\n");
        let key = AdminKey::load(&mount).unwrap();
        assert!(key.matches("correct horse"));
        assert!(!key.matches("correct horsf"));
        assert!(!key.matches(""));
    }

    #[test]
    fn an_empty_key_is_refused() {
        let (_folder, mount) = mounted(" \n");
        assert!(AdminKey::load(&mount).is_err());
    }

    #[tokio::test]
    async fn a_changed_file_counts_without_a_restart() {
        let (_folder, mount) = mounted("old");
        let key = AdminKey::load(&mount).unwrap();
        let stop = CancellationToken::new();
        let path = mount.secret_path(files::ADMIN_KEY);
        // The clock of the file system may be coarser than the two writes are apart.
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let follower = tokio::spawn(key.clone().follow(mount, Duration::from_millis(5), stop.clone()));
        let changed = async {
            while !key.matches("new") {
                std::fs::write(&path, "new").unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), changed).await.expect("the new key never counted");
        assert!(!key.matches("old"));
        stop.cancel();
        follower.await.unwrap();
    }
}
