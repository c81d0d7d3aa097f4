//! Tests of plans, statuses and capacity for given input, and of the controllers against a faulty
//! API server.

#![expect(clippy::panic, reason = "a panic fails the test")]
#![expect(clippy::print_stdout, reason = "figures of a run")]

mod api_exposure;
mod capacity;
mod common;
mod connections;
mod crds;
mod faults;
mod gitops;
mod network;
mod planned;
mod plans;
mod preview;
mod properties;
mod queues;
mod scaled_pools;
mod status;
mod summary;
mod upgrade;
