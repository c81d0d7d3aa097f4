//! `switchyard-api`: the HTTP API, the set-up that precedes it, and its document.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use switchyard_api::{router, serve, setup, termination};
use switchyard_contract::Mount;
use switchyard_jobs::telemetry;

/// Switchyard's HTTP API.
#[derive(Debug, Parser)]
#[command(name = "switchyard-api", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer callers; what happens without a command.
    Serve(serve::Options),
    /// Bring database, queues and bucket to the state that the workloads expect, and end.
    Setup,
    /// Print the OpenAPI document.
    Openapi,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if let Some(Command::Openapi) = command {
        println!("{}", router::document().to_pretty_json().expect("the document is JSON"));
        return ExitCode::SUCCESS;
    }
    telemetry::init();
    let mount = Mount::from_env();
    let outcome = match command {
        Some(Command::Setup) => setup::run(&mount).await,
        Some(Command::Serve(options)) => served(options, &mount).await,
        // Options also come from the environment.
        _ => served(serve::Options::parse_from(["switchyard-api"]), &mount).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(setup::Failure { component, message }) => {
            termination::report(component, &message);
            ExitCode::FAILURE
        }
    }
}

async fn served(options: serve::Options, mount: &Mount) -> Result<(), setup::Failure> {
    serve::run(options, mount).await.map_err(|error| setup::Failure { component: "api", message: format!("{error:#}") })
}
