//! The external-metrics API (`external.metrics.k8s.io/v1beta1`) with one metric: the desired
//! replicas of a pool.
//!
//! An extension API server behind the aggregation layer of Kubernetes. The API server proxies each
//! request, authenticates with its client certificate and names the user in headers. A
//! SubjectAccessReview then decides whether that user may read the metric. Every instance of the
//! operator serves, standbys too.

pub mod certificate;
mod listener;
pub mod options;
mod reviewer;
pub mod server;
mod trust;
