//! The cdn worker against healthy, hostile and broken servers, with a bucket in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Redirect},
    routing::get,
};
use futures::TryStreamExt;
use object_store::{ObjectStore, memory::InMemory, path::Path};
use serde_json::{Value, json};
use switchyard_apify_stand_in::Options;
use switchyard_contract::Kind;
use switchyard_jobs::{
    handler::{Handler, Outcome, Step},
    model::JobError,
};
use switchyard_worker::{
    images::{ImageHandler, address_policy::AddressPolicy, fetcher, storage::Storage},
    metrics::Metrics,
};

use super::support::{context, job, serve, stand_in};

fn worker(trusted: &str, bucket: Option<Arc<dyn ObjectStore>>) -> ImageHandler {
    let limits = fetcher::Limits { time: Duration::from_secs(2), bytes: 1_000_000, ..fetcher::Limits::default() };
    let fetcher = fetcher::Fetcher::new(AddressPolicy::new(Some(trusted)), limits).expect("a fetcher");
    ImageHandler::new(fetcher, bucket.map(|bucket| Storage::new(bucket, "memory")), Arc::new(Metrics::default()))
}

async fn attempt(worker: &ImageHandler, urls: &[String]) -> Result<Vec<Value>, JobError> {
    let claimed = job(Kind::Cdn, "anna", json!({ "urls": urls }), Step::Start);
    match worker.run(&claimed, &context().0).await? {
        Outcome::Complete(output) => Ok(output["images"].as_array().expect("images").clone()),
        other => panic!("not complete: {other:?}"),
    }
}

async fn keys(bucket: &InMemory) -> Vec<String> {
    let mut keys: Vec<String> =
        bucket.list(None).map_ok(|found| found.location.to_string()).try_collect().await.expect("lists");
    keys.sort();
    keys
}

#[tokio::test]
async fn images_are_stored_with_thumbnails_under_their_hash() {
    let source = stand_in(Options::default()).await;
    let bucket = Arc::new(InMemory::new());
    let worker = worker(&source, Some(bucket.clone()));
    let urls = vec![format!("{source}/images/a.jpg"), format!("{source}/images/b.png")];
    let images = attempt(&worker, &urls).await.expect("handled");
    assert_eq!(
        images.iter().map(|image| image["url"].as_str()).collect::<Vec<_>>(),
        urls.iter().map(|url| Some(url.as_str())).collect::<Vec<_>>()
    );
    for (image, extension) in images.iter().zip(["jpg", "png"]) {
        let hash = image["sha256"].as_str().expect("a hash");
        let key = |name: &str| format!("images/{hash}/{name}");
        assert_eq!(image["stored"]["original"], key(&format!("original.{extension}")));
        assert_eq!(image["stored"]["thumbnails"], json!({"320": key("320.jpg"), "64": key("64.jpg")}));
        let original = bucket.get(&Path::from(key(&format!("original.{extension}")))).await.expect("stored");
        assert_eq!(original.bytes().await.expect("bytes").len() as u64, image["bytes"].as_u64().expect("a size"));
        let small = bucket.get(&Path::from(key("64.jpg"))).await.expect("stored").bytes().await.expect("bytes");
        let small = image::load_from_memory(&small).expect("decodes");
        assert_eq!(small.width().max(small.height()), 64);
    }
    assert_eq!(keys(&bucket).await.len(), 6);
}

#[tokio::test]
async fn stored_image_is_not_written_again() {
    let source = stand_in(Options::default()).await;
    let bucket = Arc::new(InMemory::new());
    let worker = worker(&source, Some(bucket.clone()));
    let urls = vec![format!("{source}/images/a.jpg")];
    let first = attempt(&worker, &urls).await.expect("handled");
    let written = async || {
        let key = Path::from(first[0]["stored"]["original"].as_str().expect("a key"));
        bucket.head(&key).await.expect("stored").e_tag
    };
    let before = written().await;
    assert_eq!(attempt(&worker, &urls).await.expect("handled"), first);
    assert_eq!(written().await, before);
}

#[tokio::test]
async fn images_are_described_without_a_bucket() {
    let source = stand_in(Options::default()).await;
    let images = attempt(&worker(&source, None), &[format!("{source}/images/a.jpg")]).await.expect("handled");
    assert_eq!(images[0]["format"], "jpeg");
    assert!(images[0].get("stored").is_none());
}

/// A server with the misbehaviours of untrusted servers.
async fn hostile() -> String {
    let jpeg = |body: Vec<u8>| async move || ([(header::CONTENT_TYPE, "image/jpeg")], body.clone());
    let router = Router::new()
        .route("/page.jpg", get(jpeg(b"<html>log in first</html>".to_vec())))
        .route("/huge.jpg", get(jpeg(vec![0xff; 2_000_000])))
        .route("/forbidden.jpg", get(async || StatusCode::FORBIDDEN))
        .route("/gone.jpg", get(async || StatusCode::GONE))
        .route("/inside.jpg", get(async || Redirect::temporary("http://169.254.169.254/latest/meta-data")))
        .route("/named.jpg", get(async || Redirect::temporary("http://localhost:9/x.jpg")))
        .route("/round.jpg", get(async || Redirect::temporary("/round.jpg")))
        .route("/svg.jpg", get(jpeg(b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec())));
    serve(router).await
}

#[tokio::test]
async fn permanent_failures_are_reported_per_image() {
    let source = hostile().await;
    let worker = worker(&source, None);
    for (path, code) in [
        ("/page.jpg", "not-an-image"),
        ("/svg.jpg", "not-an-image"),
        ("/huge.jpg", "too-large"),
        ("/forbidden.jpg", "refused"),
        ("/gone.jpg", "not-found"),
        ("/nothing.jpg", "not-found"),
        ("/inside.jpg", "address-not-allowed"),
        ("/named.jpg", "address-not-allowed"),
        ("/round.jpg", "too-many-redirects"),
    ] {
        let images = attempt(&worker, &[format!("{source}{path}")]).await.expect("handled");
        assert_eq!(images[0]["error"], code, "{path}");
    }
}

#[tokio::test]
async fn only_the_profile_source_may_be_internal() {
    let (source, other) = (hostile().await, stand_in(Options::default()).await);
    let port = other.rsplit(':').next().expect("a port");
    let urls = vec![format!("{other}/images/a.jpg"), format!("http://localhost:{port}/images/a.jpg")];
    let images = attempt(&worker(&source, None), &urls).await.expect("handled");
    assert!(images.iter().all(|image| image["error"] == "address-not-allowed"), "{images:?}");
}

#[tokio::test]
async fn transient_image_failure_is_retried_within_the_attempt() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    let png = include_bytes!("dot.png");
    let answer = async move || match seen.fetch_add(1, Ordering::Relaxed) {
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        1 => StatusCode::TOO_MANY_REQUESTS.into_response(),
        _ => png.to_vec().into_response(),
    };
    let source = serve(Router::new().route("/a.png", get(answer))).await;
    let images = attempt(&worker(&source, None), &[format!("{source}/a.png")]).await.expect("handled");
    assert_eq!((images[0]["format"].as_str(), calls.load(Ordering::Relaxed)), (Some("png"), 3));
}

#[tokio::test]
async fn persistent_image_failure_fails_the_attempt_and_names_only_the_host() {
    let source = serve(Router::new().route("/a.png", get(async || StatusCode::BAD_GATEWAY))).await;
    let error = attempt(&worker(&source, None), &[format!("{source}/a.png?signature=abc")]).await.expect_err("broken");
    assert_eq!((error.code.as_str(), error.permanent), ("image-unavailable", false));
    assert!(error.message.contains("127.0.0.1") && !error.message.contains("signature"), "{error}");
}

#[tokio::test]
async fn silent_image_server_times_out() {
    let source = serve(Router::new().route("/a.png", get(async || std::future::pending::<()>().await))).await;
    let limits = fetcher::Limits { time: Duration::from_millis(200), tries: 2, ..fetcher::Limits::default() };
    let fetcher = fetcher::Fetcher::new(AddressPolicy::new(Some(&source)), limits).expect("a fetcher");
    let worker = ImageHandler::new(fetcher, None, Arc::new(Metrics::default()));
    let error = attempt(&worker, &[format!("{source}/a.png")]).await.expect_err("stalled");
    assert!(error.message.contains("in time"), "{error}");
}

#[tokio::test]
async fn malformed_job_input_is_refused() {
    let source = hostile().await;
    let claimed = job(Kind::Cdn, "anna", json!({"pictures": 1}), Step::Start);
    let error = worker(&source, None).run(&claimed, &context().0).await.expect_err("not images");
    assert_eq!((error.code.as_str(), error.permanent), ("invalid-input", true));
}
