//! Metrics of HTTP requests. Labels are bounded: routes by template, methods and status classes by
//! name.

use std::{
    fmt,
    hash::{Hash, Hasher},
    time::Duration,
};

use axum::{
    extract::MatchedPath,
    http::{Method, StatusCode},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use switchyard_jobs::trace::TraceLabel;

/// A route by its template, shared with the router.
#[derive(Debug, Clone)]
struct Route(Option<MatchedPath>);

impl Route {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("unmatched", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: Route,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Metrics of HTTP requests. Cheap to clone.
#[derive(Clone)]
pub struct HttpMetrics {
    requests: Family<Labels, Counter>,
    seconds: Family<Labels, HistogramWithExemplars<TraceLabel>>,
    watchers: Family<TransportLabel, Gauge>,
    submissions: Family<OutcomeLabel, Counter>,
}

/// Upper bounds in seconds. The service level is 50 ms for a submission; alerts read 2 s and 5 s.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0];

impl HttpMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| HistogramWithExemplars::new(BUCKETS.into_iter())),
            watchers: Family::default(),
            submissions: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("switchyard_api");
        registry.register(
            "requests",
            "Responses, by route template, method and status class",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time to the head of the response",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("watchers", "Open event streams", metrics.watchers.clone());
        registry.register("submissions", "Requests for an analysis, by outcome", metrics.submissions.clone());
        metrics
    }

    /// Counts one response and the time to its head, with its trace as an exemplar.
    pub fn answered(
        &self,
        route: Option<MatchedPath>,
        method: &Method,
        status: StatusCode,
        took: Duration,
        exemplar: Option<TraceLabel>,
    ) {
        let labels = Labels { route: Route(route), method: method_label(method), status: class(status.as_u16()) };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64(), exemplar, None);
    }

    /// Counts a request for an analysis. `outcome` is `accepted`, `coalesced`, `cached`, `replayed`
    /// or the slug of a problem.
    pub fn submission(&self, outcome: &'static str) {
        self.submissions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts an open stream until the guard is dropped.
    pub fn watcher(&self, transport: &'static str) -> WatcherGuard {
        let gauge = self.watchers.get_or_create(&TransportLabel { transport }).clone();
        gauge.inc();
        WatcherGuard(gauge)
    }
}

/// Counts one open event stream until it is dropped.
pub struct WatcherGuard(Gauge);

impl Drop for WatcherGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
