//! The cdn worker against a real S3 server, the one that the platform bundles.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use backon::{ConstantBuilder, Retryable};
use serde_json::json;
use switchyard_apify_stand_in::Options;
use switchyard_contract::{Kind, ObjectStore};
use switchyard_jobs::{
    handler::{Handler, Outcome, Step},
    model::JobError,
};
use switchyard_worker::{
    images::{
        ImageHandler,
        address_policy::AddressPolicy,
        fetcher,
        storage::{Credentials, Storage},
    },
    metrics::Metrics,
};

use super::support::{context, job, stand_in};

const BUCKET: &str = "images";
const SECRET: &str = "a-secret-of-the-test";

/// The versitygw program, which the first use builds.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("SWITCHYARD_VERSITYGW") {
        return path.into();
    }
    let cluster = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/cluster/cluster");
    let built = Command::new(&cluster).args(["tool", "versitygw"]).stderr(Stdio::inherit()).output();
    let built = built.unwrap_or_else(|error| panic!("{} cannot be run: {error}", cluster.display()));
    assert!(built.status.success(), "{} tool versitygw failed: see above", cluster.display());
    String::from_utf8(built.stdout).expect("a path").trim().into()
}

/// A private server with one bucket, killed on drop.
struct Server {
    process: Child,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        for name in [format!("buckets/{BUCKET}"), "metadata".to_owned()] {
            std::fs::create_dir_all(folder.path().join(name)).expect("a directory");
        }
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let process = Command::new(program())
            .args(["--port", &free.to_string(), "--health", "/health", "--quiet", "posix", "--sidecar"])
            .args([folder.path().join("metadata"), folder.path().join("buckets")])
            .envs([("ROOT_ACCESS_KEY", "access"), ("ROOT_SECRET_KEY", SECRET)])
            .stdout(Stdio::null())
            .spawn()
            .expect("versitygw starts");
        let server = Self { process, endpoint: format!("http://{free}"), folder };
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let health = || async { http.get(format!("{}/health", server.endpoint)).send().await?.error_for_status() };
        let backoff = ConstantBuilder::default().with_delay(Duration::from_millis(50)).with_max_times(200);
        health.retry(backoff).await.expect("versitygw becomes healthy");
        server
    }

    fn storage(&self, bucket: &str, secret: &str) -> Storage {
        storage(&self.endpoint, bucket, secret)
    }

    /// The bytes of an object, read from the server's directory.
    fn object(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join("buckets").join(BUCKET).join(key)).expect("an object")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn storage(endpoint: &str, bucket: &str, secret: &str) -> Storage {
    let store =
        ObjectStore { endpoint: endpoint.to_owned(), bucket: bucket.to_owned(), region: "us-east-1".to_owned() };
    Storage::s3(&store, &Credentials { access: "access".into(), secret: secret.into() }).expect("a bucket")
}

/// Processes the image `a.png` of the stand-in; returns the record and the metrics.
async fn attempt(source: &str, storage: Storage) -> Result<(serde_json::Value, String), JobError> {
    let metrics = Arc::new(Metrics::default());
    let fetcher =
        fetcher::Fetcher::new(AddressPolicy::new(Some(source)), fetcher::Limits::default()).expect("a fetcher");
    let worker = ImageHandler::new(fetcher, Some(storage), metrics.clone());
    let claimed = job(Kind::Cdn, "anna", json!({"urls": [format!("{source}/images/a.png")]}), Step::Start);
    let output = match worker.run(&claimed, &context().0).await? {
        Outcome::Complete(output) => output,
        other => panic!("not complete: {other:?}"),
    };
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut metrics_text = String::new();
    prometheus_client::encoding::text::encode(&mut metrics_text, &registry).expect("encodes");
    Ok((output["images"][0].clone(), metrics_text))
}

#[tokio::test]
async fn image_is_stored_once_with_its_thumbnails() {
    let (server, source) = (Server::start().await, stand_in(Options::default()).await);
    let (image, counted) = attempt(&source, server.storage(BUCKET, SECRET)).await.expect("stored");
    assert!(counted.contains(r#"switchyard_images_total{outcome="stored"} 1"#), "{counted}");
    let original = server.object(image["stored"]["original"].as_str().expect("a key"));
    assert_eq!(original.len() as u64, image["bytes"].as_u64().expect("a size"));
    for side in ["320", "64"] {
        let thumbnail = server.object(image["stored"]["thumbnails"][side].as_str().expect("a key"));
        assert_eq!(image::guess_format(&thumbnail).expect("an image"), image::ImageFormat::Jpeg);
    }
    let (again, counted) = attempt(&source, server.storage(BUCKET, SECRET)).await.expect("known");
    assert_eq!(again, image);
    assert!(counted.contains(r#"switchyard_images_total{outcome="known"} 1"#), "{counted}");
}

#[tokio::test]
async fn refusing_bucket_fails_the_attempt_without_leaking_keys() {
    let (server, source) = (Server::start().await, stand_in(Options::default()).await);
    for (storage, hint) in [
        (server.storage(BUCKET, "another-secret-of-the-test"), "objectStore.secretRef"),
        (server.storage("no-such-bucket", SECRET), "no bucket 'no-such-bucket'"),
        (storage("http://127.0.0.1:9", BUCKET, SECRET), "refused"),
    ] {
        let error = attempt(&source, storage).await.expect_err("refused");
        assert_eq!((error.code.as_str(), error.permanent), ("image-store-unavailable", false));
        assert!(error.message.contains(hint) && !error.message.contains("secret-of-the-test"), "{error}");
    }
}
