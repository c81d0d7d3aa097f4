//! Whether whoever asks may read a metric, as the cluster's own rules say.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};

use crate::autoscaling::external_metrics::options::GROUP;

/// How long an answer is good: an autoscaler asks every 15 s for every pool.
const FRESH: Duration = Duration::from_secs(60);
/// Answers that are kept at most.
const MOST: usize = 10_000;

/// Who asks, as the API server says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asker {
    pub user: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Asker {
    /// Reads the headers that the API server adds; it takes them out of what its callers send. `None` when it says nobody.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let all = |name: &str| -> Vec<String> {
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
        };
        let user = all("x-remote-user").pop().filter(|user| !user.is_empty())?;
        let extra = headers
            .keys()
            .filter_map(|name| Some((name.as_str().strip_prefix("x-remote-extra-")?.to_owned(), all(name.as_str()))))
            .collect();
        Some(Self { user, groups: all("x-remote-group"), extra })
    }
}

/// Whoever asks, a namespace, a metric.
type Question = (Asker, String, String);

/// Asks the API server, and remembers for a minute.
pub struct Reviewer {
    reviews: Api<SubjectAccessReview>,
    answers: Mutex<HashMap<Question, (Instant, bool)>>,
}

impl Reviewer {
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), answers: Mutex::default() }
    }

    /// Whether `asker` may get `metric` in `namespace`.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn may_read(&self, asker: &Asker, namespace: &str, metric: &str) -> Result<bool, String> {
        let key = (asker.clone(), namespace.to_owned(), metric.to_owned());
        let known = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((at, allowed)) = known
            && at.elapsed() < FRESH
        {
            return Ok(allowed);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(asker.user.clone()),
                groups: Some(asker.groups.clone()),
                extra: Some(asker.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.into()),
                    version: Some("*".into()),
                    resource: Some(metric.into()),
                    namespace: Some(namespace.into()),
                    verb: Some("get".into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = self.reviews.create(&PostParams::default(), &review).await;
        let allowed = answer
            .map_err(|error| format!("cannot ask whether {} may read {metric}: {error}", asker.user))?
            .status
            .is_some_and(|status| status.allowed);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if answers.len() < MOST {
            answers.insert(key, (Instant::now(), allowed));
        }
        Ok(allowed)
    }
}
