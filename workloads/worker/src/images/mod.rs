//! The cdn worker: fetches images, verifies them, makes thumbnails and stores all of it.

pub mod address_policy;
pub mod fetcher;
pub mod picture;
pub mod storage;

use std::{sync::Arc, time::Instant};

use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use switchyard_jobs::{
    handler::{ClaimedJob, Handler, Outcome, RunContext},
    model::JobError,
};
use tokio::sync::Semaphore;

use self::{
    fetcher::{FetchError, Fetcher},
    picture::Picture,
    storage::Storage,
};
use crate::{
    children::{ImageRecord, ImagesInput, ImagesOutput},
    metrics::Metrics,
};

/// Images of one job in progress at once.
const CONCURRENT_IMAGES_PER_JOB: usize = 4;
/// Images of all jobs of this process in progress at once. With [`fetcher::Limits::bytes`] it
/// bounds the memory of their bytes to 128 MiB.
const CONCURRENT_IMAGES: usize = 16;
/// Images decoded at once. Each may take some 150 MiB, see [`picture`].
const CONCURRENT_DECODES: usize = 2;
/// Images in one job. An analysis requests fewer.
const MAX_IMAGES: usize = 100;

/// Runs cdn jobs.
pub struct ImageHandler {
    fetcher: Fetcher,
    /// Without a storage, images are described but not stored.
    storage: Option<Storage>,
    images: Semaphore,
    /// Decoding takes a core and much memory.
    decodes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A failure of an image that a later attempt may not have.
struct RetryableError {
    code: &'static str,
    message: String,
}

impl ImageHandler {
    pub fn new(fetcher: Fetcher, storage: Option<Storage>, metrics: Arc<Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let decodes = Arc::new(Semaphore::new(cores.min(CONCURRENT_DECODES)));
        Self { fetcher, storage, images: Semaphore::new(CONCURRENT_IMAGES), decodes, metrics }
    }

    async fn process(&self, url: String) -> Result<ImageRecord, RetryableError> {
        let _permit = self
            .images
            .acquire()
            .await
            .map_err(|error| RetryableError { code: "image-unavailable", message: error.to_string() })?;
        let began = Instant::now();
        let count = |outcome, bytes| self.metrics.image(outcome, bytes, began.elapsed());
        let bytes = match self.fetcher.fetch(&url).await {
            Ok(bytes) => bytes,
            Err(FetchError::Permanent(code)) => {
                count(code, 0);
                return Ok(ImageRecord::Failed { url, error: code.to_owned() });
            }
            Err(FetchError::Transient(message)) => {
                count("image-unavailable", 0);
                return Err(RetryableError { code: "image-unavailable", message });
            }
        };
        let size = bytes.len();
        let (bytes, sha256, picture) = self.decode(bytes).await?;
        let picture = match picture {
            Ok(picture) => picture,
            Err(code) => {
                count(code, size);
                return Ok(ImageRecord::Failed { url, error: code.to_owned() });
            }
        };
        let (stored, outcome) = match &self.storage {
            None => (None, "described"),
            Some(storage) => match storage.store(&sha256, bytes, &picture).await {
                Ok((stored, true)) => (Some(stored), "stored"),
                Ok((stored, false)) => (Some(stored), "known"),
                Err(error) => {
                    count("image-store-unavailable", size);
                    return Err(RetryableError { code: "image-store-unavailable", message: error.to_string() });
                }
            },
        };
        count(outcome, size);
        let Picture { format, width, height, .. } = picture;
        Ok(ImageRecord::Verified { url, sha256, format: format.name().to_owned(), width, height, bytes: size, stored })
    }

    /// Hashes and decodes on a blocking thread.
    async fn decode(&self, bytes: Vec<u8>) -> Result<(Vec<u8>, String, Result<Picture, &'static str>), RetryableError> {
        let interrupted = |reason: String| RetryableError { code: "image-unavailable", message: reason };
        let permit = self.decodes.clone().acquire_owned().await.map_err(|error| interrupted(error.to_string()))?;
        let decoded = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let sha256 = hex::encode(Sha256::digest(&bytes));
            let picture = picture::decode(&bytes);
            (bytes, sha256, picture)
        });
        decoded.await.map_err(|error| interrupted(format!("decoding was interrupted: {error}")))
    }
}

#[async_trait::async_trait]
impl Handler for ImageHandler {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        let input: ImagesInput = serde_json::from_value(job.input.clone())
            .map_err(|error| JobError::permanent("invalid-input", format!("not a cdn job's input: {error}")))?;
        let total = input.urls.len();
        if total > MAX_IMAGES {
            return Err(JobError::permanent(
                "invalid-input",
                format!("{total} images in one job, the limit is {MAX_IMAGES}"),
            ));
        }
        let mut records = stream::iter(input.urls).map(|url| self.process(url)).buffered(CONCURRENT_IMAGES_PER_JOB);
        let (mut images, mut failures) = (Vec::with_capacity(total), Vec::new());
        while let Some(record) = records.next().await {
            match record {
                Ok(record) => images.push(record),
                Err(failure) => failures.push(failure),
            }
            let percent = (images.len() + failures.len()) * 99 / total;
            context.progress.report(u8::try_from(percent).unwrap_or(99), "images");
        }
        if let Some(first) = failures.first() {
            let message = format!("{} of {total} images failed, for instance: {}", failures.len(), first.message);
            return Err(JobError::transient(first.code, message));
        }
        let output = serde_json::to_value(ImagesOutput { images })
            .map_err(|error| JobError::permanent("invalid-output", error.to_string()))?;
        Ok(Outcome::Complete(output))
    }
}
