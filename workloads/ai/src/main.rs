//! `switchyard-ai`: the ai worker, and commands that use its model without a platform.

#![expect(clippy::print_stderr, reason = "a program of the command line")]

use std::{io, path::PathBuf, process::ExitCode};

use clap::Parser as _;
use switchyard_ai::{
    cli::{Cli, Command, Worker},
    commands,
    model::Provider,
    worker,
};
use switchyard_contract::Mount;
use switchyard_jobs::runner::process;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = || io::BufWriter::new(io::stdout().lock());
    // Without a command the worker takes its options only from the environment.
    let done = match cli.command.unwrap_or_else(|| Command::Run(Worker::parse_from(["switchyard-ai"]).options)) {
        Command::Run(options) => return serve(options, cli.model_dir, cli.model_provider),
        Command::Eval { file, json } => commands::eval(&cli.model_dir, cli.model_provider, &file, json, output()),
        Command::Classify => commands::classify(&cli.model_dir, cli.model_provider, io::stdin().lock(), output()),
        Command::Provider { report } => commands::provider(&cli.model_dir, cli.model_provider, &report, output()),
        Command::Tokens => commands::tokens(&cli.model_dir, io::stdin().lock(), output()),
        Command::Embed => commands::embed(&cli.model_dir, cli.model_provider, io::stdin().lock(), output()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("switchyard-ai: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(options: worker::Options, model: PathBuf, provider: Provider) -> ExitCode {
    Box::pin(process::run_main(worker::run(options, model, provider, &Mount::from_env()))).await
}
