//! Plans, statuses and capacity from made-up input, and the controllers against an API server that fails.

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
mod upgrade;
