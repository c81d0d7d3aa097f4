//! `switchyard-api`: the HTTP API, the setup before it, and its OpenAPI document.

#![expect(clippy::print_stdout, reason = "a program of the command line")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use switchyard_api::{router, serve, setup, termination};
use switchyard_contract::Mount;
use switchyard_jobs::service::telemetry;

/// Switchyard's HTTP API.
#[derive(Debug, Parser)]
#[command(name = "switchyard-api", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API; the default.
    Serve(serve::Options),
    /// Set up database, queues and bucket, and exit.
    Setup,
    /// Print the OpenAPI document.
    Openapi,
}

fn main() -> ExitCode {
    // Options also come from the environment.
    let serve = || Command::Serve(serve::Options::parse_from(["switchyard-api"]));
    let command = Arguments::parse().command.unwrap_or_else(serve);
    telemetry::init();
    let mount = Mount::from_env();
    let outcome = match command {
        Command::Openapi => {
            println!("{}", router::document().to_pretty_json().expect("the document is JSON"));
            Ok(())
        }
        Command::Setup => on_threads(1, setup::run(&mount)),
        Command::Serve(options) => on_threads(options.threads, run_server(options, &mount)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(setup::Failure { component, message }) => {
            termination::report(component, &message);
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` on a tokio runtime with `threads` threads.
fn on_threads(threads: u16, work: impl Future<Output = Result<(), setup::Failure>>) -> Result<(), setup::Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads.into()).enable_all().build();
    let failed = |error| setup::Failure { component: "api", message: format!("could not start threads: {error}") };
    runtime.map_err(failed)?.block_on(work)
}

async fn run_server(options: serve::Options, mount: &Mount) -> Result<(), setup::Failure> {
    serve::run(options, mount).await.map_err(|error| setup::Failure { component: "api", message: format!("{error:#}") })
}
