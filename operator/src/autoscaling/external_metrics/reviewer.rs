//! Authorization of requests by SubjectAccessReview.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;

use crate::autoscaling::external_metrics::options::GROUP;

/// Time to live of a decision. An autoscaler asks every 15 s for every pool.
const DECISION_TTL: Duration = Duration::from_mins(1);
/// Most decisions in the cache.
const MAX_DECISIONS: usize = 10_000;

/// The user of a request, as the API server authenticated them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requester {
    pub user: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Requester {
    /// Reads the headers that the API server sets, after removing those of its client. `None` if
    /// they name no user.
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

/// User, namespace and metric.
type ReviewKey = (Requester, String, String);

/// Asks the API server, and caches each decision for [`DECISION_TTL`].
pub struct Reviewer {
    reviews: Api<SubjectAccessReview>,
    decisions: Mutex<HashMap<ReviewKey, (Instant, bool)>>,
}

impl Reviewer {
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), decisions: Mutex::default() }
    }

    /// Whether `requester` may get `metric` in `namespace`.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn may_read(&self, requester: &Requester, namespace: &str, metric: &str) -> Result<bool, String> {
        let key = (requester.clone(), namespace.to_owned(), metric.to_owned());
        let known = self.decisions.lock().get(&key).copied();
        if let Some((at, allowed)) = known
            && at.elapsed() < DECISION_TTL
        {
            return Ok(allowed);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(requester.user.clone()),
                groups: Some(requester.groups.clone()),
                extra: Some(requester.extra.clone()),
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
        let result = self.reviews.create(&PostParams::default(), &review).await;
        let allowed = result
            .map_err(|error| format!("cannot ask whether {} may read {metric}: {error}", requester.user))?
            .status
            .is_some_and(|status| status.allowed);
        let mut decisions = self.decisions.lock();
        if decisions.len() >= MAX_DECISIONS {
            decisions.retain(|_, (at, _)| at.elapsed() < DECISION_TTL);
        }
        if decisions.len() < MAX_DECISIONS {
            decisions.insert(key, (Instant::now(), allowed));
        }
        Ok(allowed)
    }
}
