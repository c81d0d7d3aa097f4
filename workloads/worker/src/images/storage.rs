//! Storage of images in a bucket, under keys derived from the SHA-256 of their bytes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, ObjectStore, PutOptions, PutPayload, RetryConfig,
    aws::AmazonS3Builder, path::Path,
};
use secrecy::{ExposeSecret, SecretString};
use switchyard_jobs::trace;

use super::picture::Picture;
use crate::children::StoredImage;

/// Credentials of the object store.
pub struct Credentials {
    pub access: SecretString,
    pub secret: SecretString,
}

/// Why the bucket cannot be used. Messages say what to do and never contain a key.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error(
        "the object store refuses the credentials for bucket '{0}': check the Secret that objectStore.secretRef names"
    )]
    Credentials(String),
    #[error("the object store has no bucket '{0}': create it, or correct objectStore.bucket")]
    NoBucket(String),
    #[error("the object store is unavailable: {0}")]
    Unavailable(String),
}

/// A bucket of images. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    bucket: Arc<dyn ObjectStore>,
    name: String,
}

impl Storage {
    /// The S3 bucket `store`, over HTTP or HTTPS. A request is retried twice within 20 s.
    ///
    /// # Errors
    /// The endpoint or the region is invalid. The bucket is not contacted.
    pub fn s3(store: &switchyard_contract::ObjectStore, credentials: &Credentials) -> object_store::Result<Self> {
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(200),
                max_backoff: Duration::from_secs(2),
                base: 2.0,
            },
            max_retries: 2,
            retry_timeout: Duration::from_secs(20),
        };
        let client = ClientOptions::new()
            .with_allow_http(true)
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(Duration::from_secs(10));
        let bucket = AmazonS3Builder::new()
            .with_endpoint(&store.endpoint)
            .with_bucket_name(&store.bucket)
            .with_region(&store.region)
            .with_access_key_id(credentials.access.expose_secret())
            .with_secret_access_key(credentials.secret.expose_secret())
            .with_virtual_hosted_style_request(false)
            .with_client_options(client)
            .with_retry(retry)
            .build()?;
        Ok(Self::new(Arc::new(bucket), &store.bucket))
    }

    /// Any bucket. `name` appears in messages.
    pub fn new(bucket: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self { bucket, name: name.to_owned() }
    }

    /// Stores an image and its thumbnails, unless they are already stored. `sha256` is the hash of
    /// `bytes` in hex. The flag is false if nothing was written.
    ///
    /// # Errors
    /// [`StorageError`] if the bucket refuses or does not respond.
    pub async fn store(
        &self,
        sha256: &str,
        bytes: Vec<u8>,
        picture: &Picture,
    ) -> Result<(StoredImage, bool), StorageError> {
        let key = |name: &str| format!("images/{sha256}/{name}");
        let original = key(&format!("original.{}", picture.format.extension()));
        let thumbnails: BTreeMap<String, String> =
            picture.thumbnails.iter().map(|(side, _)| (side.to_string(), key(&format!("{side}.jpg")))).collect();
        let stored = StoredImage { original, thumbnails };
        // The original is written last: if it exists, so do the thumbnails.
        if self.size(&stored.original).await? == Some(bytes.len() as u64) {
            return Ok((stored, false));
        }
        for (side, thumbnail) in &picture.thumbnails {
            self.put(&key(&format!("{side}.jpg")), thumbnail.clone(), "image/jpeg").await?;
        }
        self.put(&stored.original, bytes, picture.format.content_type()).await?;
        Ok((stored, true))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        match self.bucket.head(&Path::from(key)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, content_type: &'static str) -> Result<(), StorageError> {
        let attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        trace::within(trace::Kind::Client, "object store put", async {
            let put = self.bucket.put_opts(&Path::from(key), PutPayload::from(bytes), options).await;
            put.map(|_| ()).map_err(|error| self.error(&error))
        })
        .await
    }

    fn error(&self, error: &object_store::Error) -> StorageError {
        use object_store::Error;
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                StorageError::Credentials(self.name.clone())
            }
            // A put does not need the key to exist, so the bucket is missing.
            Error::NotFound { .. } => StorageError::NoBucket(self.name.clone()),
            other => StorageError::Unavailable(root_cause(other)),
        }
    }
}

/// The innermost cause, at most 200 characters. The outer ones only repeat the request.
fn root_cause(error: &object_store::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().lines().next().unwrap_or_default().chars().take(200).collect()
}
