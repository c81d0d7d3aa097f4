//! The external-metrics API (`external.metrics.k8s.io/v1beta1`) with one metric: the pods that a pool should have.
//!
//! The cluster's API server hands requests on, and says who asks: it is known by its certificate, and whoever asks must be allowed to read the metric
//! (an SubjectAccessReview answers that). Every instance of the operator serves, the leader or not.

pub mod certificate;
mod listener;
pub mod options;
mod reviewer;
pub mod server;
mod trust;
