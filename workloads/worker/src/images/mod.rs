//! The cdn worker: fetches images, verifies them, makes thumbnails, stores all of it.

pub mod fetch;
pub mod guard;
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

use crate::{
    children::{ImageRecord, ImagesHandled, ImagesWanted},
    metrics::Metrics,
};
use fetch::{FetchError, Fetcher};
use picture::Picture;
use storage::Storage;

/// Images of one job that are under way at once.
const AT_ONCE: usize = 4;
/// Images of all jobs of this process that are under way at once: with [`fetch::Limits::bytes`] it bounds what their bytes take, 128 MiB.
const UNDER_WAY: usize = 16;
/// Images that are decoded at once at most; each may take some 150 MiB, see [`picture`].
const DECODED: usize = 2;
/// Images in one job; an analysis never asks for as many.
const IMAGES: usize = 100;

/// Runs cdn jobs.
pub struct StoreImages {
    fetcher: Fetcher,
    /// Without one images are described but not stored.
    storage: Option<Storage>,
    under_way: Semaphore,
    /// Decoding takes a core and much memory.
    decoding: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Why an image is not handled now but may be later.
struct NotNow {
    code: &'static str,
    message: String,
}

impl StoreImages {
    pub fn new(fetcher: Fetcher, storage: Option<Storage>, metrics: Arc<Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let decoding = Arc::new(Semaphore::new(cores.min(DECODED)));
        Self { fetcher, storage, under_way: Semaphore::new(UNDER_WAY), decoding, metrics }
    }

    async fn handle(&self, url: String) -> Result<ImageRecord, NotNow> {
        let _under_way = self
            .under_way
            .acquire()
            .await
            .map_err(|error| NotNow { code: "image-unavailable", message: error.to_string() })?;
        let began = Instant::now();
        let count = |outcome, bytes| self.metrics.image(outcome, bytes, began.elapsed());
        let bytes = match self.fetcher.fetch(&url).await {
            Ok(bytes) => bytes,
            Err(FetchError::Final(code)) => {
                count(code, 0);
                return Ok(ImageRecord::Failed { url, error: code.to_owned() });
            }
            Err(FetchError::Transient(message)) => {
                count("image-unavailable", 0);
                return Err(NotNow { code: "image-unavailable", message });
            }
        };
        let size = bytes.len();
        let (bytes, sha256, picture) = self.read(bytes).await?;
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
                    return Err(NotNow { code: "image-store-unavailable", message: error.to_string() });
                }
            },
        };
        count(outcome, size);
        let Picture { format, width, height, .. } = picture;
        Ok(ImageRecord::Verified { url, sha256, format: format.name().to_owned(), width, height, bytes: size, stored })
    }

    /// Hashes and decodes off the async threads.
    async fn read(&self, bytes: Vec<u8>) -> Result<(Vec<u8>, String, Result<Picture, &'static str>), NotNow> {
        let interrupted = |reason: String| NotNow { code: "image-unavailable", message: reason };
        let permit = self.decoding.clone().acquire_owned().await.map_err(|error| interrupted(error.to_string()))?;
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let sha256 = hex::encode(Sha256::digest(&bytes));
            let picture = picture::read(&bytes);
            (bytes, sha256, picture)
        });
        read.await.map_err(|error| interrupted(format!("decoding broke off: {error}")))
    }
}

#[async_trait::async_trait]
impl Handler for StoreImages {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        let input: ImagesWanted = serde_json::from_value(job.input.clone())
            .map_err(|error| JobError::permanent("invalid-input", format!("not a cdn job's input: {error}")))?;
        let total = input.urls.len();
        if total > IMAGES {
            return Err(JobError::permanent(
                "invalid-input",
                format!("{total} images in one job, at most {IMAGES} may be"),
            ));
        }
        let mut handled = stream::iter(input.urls).map(|url| self.handle(url)).buffered(AT_ONCE);
        let (mut images, mut not_now) = (Vec::with_capacity(total), Vec::new());
        while let Some(result) = handled.next().await {
            match result {
                Ok(record) => images.push(record),
                Err(reason) => not_now.push(reason),
            }
            let percent = (images.len() + not_now.len()) * 99 / total;
            context.progress.report(percent as u8, "images");
        }
        if let Some(first) = not_now.first() {
            let message = format!("{} of {total} images, for instance: {}", not_now.len(), first.message);
            return Err(JobError::transient(first.code, message));
        }
        let output = serde_json::to_value(ImagesHandled { images })
            .map_err(|error| JobError::permanent("invalid-output", error.to_string()))?;
        Ok(Outcome::Complete(output))
    }
}
