//! The setup of the object store: its bucket exists, and the keys may use it.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use object_store::{
    ClientOptions,
    aws::{AwsAuthorizer, AwsCredential},
    client::{HttpClient, HttpConnector, HttpErrorKind, HttpRequest, HttpRequestBody, ReqwestConnector},
};
use secrecy::{ExposeSecret, SecretString};
use switchyard_contract::ObjectStore;

/// Timeout of one request to the object store.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The response of the object store.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Success,
    NoBucket,
    /// Refused, with S3's error code if it sent one.
    Refused(String),
    Other(StatusCode, String),
}

/// The access keys of the object store.
pub struct Keys {
    pub access: SecretString,
    pub secret: SecretString,
}

/// Creates the bucket if it is missing, and checks that the keys may use it.
///
/// # Errors
/// The cause and its remedy.
pub async fn ensure_bucket(store: &ObjectStore, keys: &Keys) -> Result<(), String> {
    let s3 = S3::new(store, keys)?;
    let bucket = &store.bucket;
    match s3.call(Method::HEAD, HttpRequestBody::empty()).await? {
        Answer::Success => Ok(()),
        Answer::NoBucket => match s3.call(Method::PUT, location(&store.region)).await? {
            Answer::Success => Ok(()),
            answer => Err(format!(
                "bucket '{bucket}' does not exist at {} and could not be created: {}",
                store.endpoint,
                describe(&answer)
            )),
        },
        answer => Err(format!("bucket '{bucket}' at {} cannot be used: {}", store.endpoint, describe(&answer))),
    }
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Success => "success".to_owned(),
        Answer::NoBucket => "the bucket does not exist".to_owned(),
        Answer::Refused(code) if code.is_empty() => {
            "the keys are refused; check 'access-key' and 'secret-key' in its Secret, and their permissions".to_owned()
        }
        Answer::Refused(code) => {
            format!(
                "the keys are refused ({code}); check 'access-key' and 'secret-key' in its Secret, and their permissions"
            )
        }
        Answer::Other(status, code) if code.is_empty() => format!("it answered {status}"),
        Answer::Other(status, code) => format!("it answered {status} ({code})"),
    }
}

/// The body of the request that creates a bucket. S3 requires an empty one for its first region.
fn location(region: &str) -> HttpRequestBody {
    if region == "us-east-1" {
        return HttpRequestBody::empty();
    }
    let xml = format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    );
    HttpRequestBody::from(xml)
}

struct S3<'a> {
    store: &'a ObjectStore,
    credential: AwsCredential,
    client: HttpClient,
}

impl<'a> S3<'a> {
    fn new(store: &'a ObjectStore, keys: &Keys) -> Result<Self, String> {
        let options = ClientOptions::new().with_allow_http(true).with_timeout(TIMEOUT).with_connect_timeout(TIMEOUT);
        let client = ReqwestConnector::default().connect(&options).map_err(|error| error.to_string())?;
        let credential = AwsCredential {
            key_id: keys.access.expose_secret().to_owned(),
            secret_key: keys.secret.expose_secret().to_owned(),
            token: None,
        };
        Ok(Self { store, credential, client })
    }

    /// Sends a signed request to the bucket itself.
    async fn call(&self, method: Method, body: HttpRequestBody) -> Result<Answer, String> {
        let endpoint = self.store.endpoint.trim_end_matches('/');
        let mut request = HttpRequest::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("{endpoint}/{}", self.store.bucket)
            .parse()
            .map_err(|error| format!("the object store's endpoint '{endpoint}' is not a URL: {error}"))?;
        AwsAuthorizer::new(&self.credential, "s3", &self.store.region).authorize(&mut request, None);
        let response = self.client.execute(request).await.map_err(|error| {
            let what = match error.kind() {
                HttpErrorKind::Timeout => "did not answer in time",
                HttpErrorKind::Connect => "cannot be reached",
                _ => "could not be called",
            };
            format!("the object store at {endpoint} {what}; check objectStore.endpoint ({})", root_cause(&error))
        })?;
        let status = response.status();
        let body = response.into_body().bytes().await.unwrap_or_default();
        Ok(read(status, &String::from_utf8_lossy(&body)))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn read(status: StatusCode, body: &str) -> Answer {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    match status {
        status if status.is_success() => Answer::Success,
        // A concurrent setup created it.
        StatusCode::CONFLICT if code == "BucketAlreadyOwnedByYou" => Answer::Success,
        StatusCode::NOT_FOUND => Answer::NoBucket,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Answer::Refused(code.to_owned()),
        status => Answer::Other(status, code.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, extract::Request, http::header};

    use super::*;

    /// A stand-in for an object store with its responses to HEAD and PUT; records the requests.
    async fn store(head: StatusCode, put: StatusCode) -> (ObjectStore, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let app = Router::new().fallback(move |request: Request| async move {
            let signed = request
                .headers()
                .get(header::AUTHORIZATION)
                .is_some_and(|value| value.to_str().unwrap().starts_with("AWS4-HMAC-SHA256 Credential=access/"));
            assert!(signed, "the request is not signed");
            seen.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
            if request.method() == Method::HEAD { head } else { put }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (ObjectStore { endpoint, bucket: "images".into(), region: "eu-1".into() }, asked)
    }

    fn keys() -> Keys {
        Keys { access: "access".to_owned().into(), secret: "hidden".to_owned().into() }
    }

    #[tokio::test]
    async fn existing_bucket_is_not_created() {
        let (store, asked) = store(StatusCode::OK, StatusCode::OK).await;
        ensure_bucket(&store, &keys()).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["HEAD /images"]);
    }

    #[tokio::test]
    async fn missing_bucket_is_created() {
        let (store, asked) = store(StatusCode::NOT_FOUND, StatusCode::OK).await;
        ensure_bucket(&store, &keys()).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["HEAD /images", "PUT /images"]);
    }

    #[tokio::test]
    async fn refused_keys_are_reported_without_their_values() {
        let (store, _) = store(StatusCode::FORBIDDEN, StatusCode::OK).await;
        let message = ensure_bucket(&store, &keys()).await.unwrap_err();
        assert!(message.contains("keys are refused") && message.contains("images"), "{message}");
        assert!(!message.contains("hidden"), "{message}");
    }

    #[tokio::test]
    async fn unreachable_object_store_is_reported_with_its_endpoint() {
        // The port is closed again before the call.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let store = ObjectStore { endpoint: endpoint.clone(), bucket: "images".into(), region: "us-east-1".into() };
        let message = ensure_bucket(&store, &keys()).await.unwrap_err();
        assert!(message.contains(&endpoint) && message.contains("cannot be reached"), "{message}");
    }
}
