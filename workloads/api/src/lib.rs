//! Switchyard's HTTP API.
//!
//! Layers, from top to bottom; a module imports only from layers below its own:
//!
//! 1. `serve` (and `main.rs`): the process from start to end. `setup` and `termination` belong to
//!    its commands.
//! 2. `router`: every route, the layers around them, and the OpenAPI document.
//! 3. `routes`: handlers, one file a resource.
//! 4. `state`: what handlers share.
//! 5. `operations`: the platform snapshot, its health score and its metrics, on a port of their
//!    own.
//! 6. `auth`: who calls, and how fast.
//! 7. `http`: problems, input, layers, connections, HTTP metrics; and `views`, the shapes that
//!    callers see.
//! 8. `switchyard_jobs`: the store, the broker and the cache.

mod analysis_result;
mod auth;
pub mod cli;
mod http;
mod object_store;
mod operations;
pub mod reference;
pub mod router;
mod routes;
pub mod serve;
pub mod setup;
mod state;
pub mod termination;
mod views;
