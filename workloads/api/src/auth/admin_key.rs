//! The admin key, which is read again when its mounted file changes.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use switchyard_contract::{Mount, files};
use tokio_util::sync::CancellationToken;

/// The hash of the admin key. Cheap to clone.
#[derive(Clone)]
pub struct AdminKey(Arc<RwLock<[u8; 32]>>);

impl AdminKey {
    /// Reads the mounted key.
    ///
    /// # Errors
    /// If the file is missing or blank: an empty key must not authenticate anyone.
    pub fn load(mount: &Mount) -> Result<Self, files::FileError> {
        Ok(Self(Arc::new(RwLock::new(read(mount)?))))
    }

    /// Whether `given` is the key, in constant time.
    pub fn matches(&self, given: &str) -> bool {
        let known = *self.0.read();
        hash(given).ct_eq(&known).into()
    }

    /// Checks the file every `interval` and reads it again when it has changed, until `stop`. A
    /// missing or blank file keeps the last key in force.
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
                    *self.0.write() = key;
                    seen = now;
                    tracing::info!("reloaded the admin key");
                }
                Err(error) => {
                    tracing::warn!(%error, "could not reload the admin key; the last one stays in force");
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
    fn empty_key_is_an_error() {
        let (_folder, mount) = mounted(" \n");
        assert!(AdminKey::load(&mount).is_err());
    }

    #[tokio::test]
    async fn changed_file_is_read_without_a_restart() {
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
        tokio::time::timeout(Duration::from_secs(10), changed).await.expect("the new key was never read");
        assert!(!key.matches("old"));
        stop.cancel();
        follower.await.unwrap();
    }
}
