//! HTTP itself, whatever is served: input, problems, layers, connections, metrics, the base of the
//! OpenAPI document.

pub mod concurrency;
pub mod input;
pub mod layers;
pub mod metrics;
pub mod openapi;
pub mod problem;
mod problem_reference;
pub mod request_id;
pub mod server;
