//! The command line of `switchyard-api`.

use clap::{Parser, Subcommand};

use crate::serve;

/// Switchyard's HTTP API.
#[derive(Debug, Parser)]
#[command(name = "switchyard-api", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API; the default.
    Serve(serve::Options),
    /// Set up database, queues and bucket, and exit.
    Setup,
    /// Print the OpenAPI document.
    Openapi,
}
