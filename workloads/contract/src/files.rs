//! Paths of mounted files, and reading them.
//!
//! All files are below one folder, `/etc/switchyard` in a pod. `SWITCHYARD_DIR` overrides it, so
//! that a workload runs unchanged on a developer's machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use crate::role::Role;

/// Folder of all mounts.
pub const ROOT: &str = "/etc/switchyard";
/// Environment variable that overrides [`ROOT`].
pub const ROOT_ENV: &str = "SWITCHYARD_DIR";
/// The configuration document: `config/config.json`, from a ConfigMap.
pub const CONFIG_DIR: &str = "config";
/// The key of the ConfigMap and the name of the file.
pub const CONFIG_KEY: &str = "config.json";

/// A value from a Secret, mounted as `secrets/<group>/<key>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFile {
    /// Folder below `secrets/`, one for each Secret.
    pub group: &'static str,
    /// Key in that Secret, and name of the file.
    pub key: &'static str,
}

/// Address of the database. Each workload logs in with its own role and password.
pub const DATABASE_URI: SecretFile = SecretFile { group: "database", key: "uri" };
/// Login that may create roles and tables; mounted into the setup Job only. Defaults to `uri`.
pub const DATABASE_ADMIN_URI: SecretFile = SecretFile { group: "database", key: "admin-uri" };
/// Read replicas, comma separated; optional.
pub const DATABASE_REPLICA_URIS: SecretFile = SecretFile { group: "database", key: "replica-uris" };
/// Root certificates (PEM) that the database's certificate is checked against; optional.
pub const DATABASE_CA: SecretFile = SecretFile { group: "database", key: "ca.crt" };
/// Folder of the role passwords: one file for each role, with the name of the role.
pub const DATABASE_ROLES_GROUP: &str = "database-roles";
/// Address of the broker (`amqp://user:password@host/vhost`).
pub const BROKER_URI: SecretFile = SecretFile { group: "broker", key: "uri" };
/// Root certificates (PEM) that the broker's certificate is checked against; optional.
pub const BROKER_CA: SecretFile = SecretFile { group: "broker", key: "ca.crt" };
/// Address of the cache (`redis://:password@host/0`).
pub const CACHE_URI: SecretFile = SecretFile { group: "cache", key: "uri" };
/// Root certificates (PEM) that the cache's certificate is checked against; optional.
pub const CACHE_CA: SecretFile = SecretFile { group: "cache", key: "ca.crt" };
/// S3 access key.
pub const OBJECT_STORE_ACCESS_KEY: SecretFile = SecretFile { group: "object-store", key: "access-key" };
/// S3 secret key.
pub const OBJECT_STORE_SECRET_KEY: SecretFile = SecretFile { group: "object-store", key: "secret-key" };
/// Token of the profile source.
pub const PROFILE_SOURCE_TOKEN: SecretFile = SecretFile { group: "profile-source", key: "token" };
/// Bearer key of the admin API.
pub const ADMIN_KEY: SecretFile = SecretFile { group: "admin", key: "key" };

/// Why a mounted file could not be used. The message states the remedy.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist.
    #[error("{path} is missing: the Secret or ConfigMap behind it has no key '{key}'")]
    Missing { path: PathBuf, key: String },
    /// The file exists and cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    /// The content is not valid.
    #[error("{path} is not valid: {reason}")]
    Invalid { path: PathBuf, reason: String },
}

/// The folder of all mounts.
#[derive(Debug, Clone)]
pub struct Mount(PathBuf);

impl Mount {
    /// The mounts below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The mounts below `SWITCHYARD_DIR`, or [`ROOT`] if it is not set.
    pub fn from_env() -> Self {
        Self(std::env::var_os(ROOT_ENV).map_or_else(|| ROOT.into(), PathBuf::from))
    }

    /// Path of the configuration document.
    pub fn config_path(&self) -> PathBuf {
        self.0.join(CONFIG_DIR).join(CONFIG_KEY)
    }

    /// Path of a secret's file.
    pub fn secret_path(&self, file: SecretFile) -> PathBuf {
        self.0.join("secrets").join(file.group).join(file.key)
    }

    /// Reads a secret, without surrounding white space: Secrets created with `echo` end in a
    /// newline.
    ///
    /// # Errors
    /// [`FileError::Missing`] or [`FileError::Unreadable`].
    pub fn secret(&self, file: SecretFile) -> Result<SecretString, FileError> {
        read(&self.secret_path(file)).map(|text| SecretString::from(text.trim()))
    }

    /// As [`Mount::secret`]; `None` if the file is missing or blank.
    ///
    /// # Errors
    /// [`FileError::Unreadable`].
    pub fn optional_secret(&self, file: SecretFile) -> Result<Option<SecretString>, FileError> {
        match read(&self.secret_path(file)) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Ok(Some(SecretString::from(text.trim()))),
            Err(FileError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The password of a database role; `None` if the address in the user's Secret has the login.
    ///
    /// # Errors
    /// [`FileError::Unreadable`].
    pub fn role_password(&self, role: Role) -> Result<Option<SecretString>, FileError> {
        self.optional_secret(SecretFile { group: DATABASE_ROLES_GROUP, key: role.as_str() })
    }
}

/// Reads a whole text file.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing {
            path: path.to_owned(),
            key: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        },
        _ => FileError::Unreadable { path: path.to_owned(), source },
    })
}
