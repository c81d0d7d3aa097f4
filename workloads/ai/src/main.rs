//! `switchyard-ai`: the ai worker, and commands that use its model without a platform.

#![expect(clippy::print_stderr, reason = "a program of the command line")]

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use switchyard_ai::{commands, model::Provider, worker};
use switchyard_contract::Mount;
use switchyard_jobs::runner::process;

/// Switchyard's ai worker, which also runs without a command.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Model folder, as built by `make models`.
    #[arg(long, global = true, env = "SWITCHYARD_MODEL_DIR", default_value = "/models")]
    model_dir: PathBuf,
    /// Execution provider of the model.
    #[arg(long, global = true, env = "SWITCHYARD_MODEL_PROVIDER", default_value = "cpu")]
    model_provider: Provider,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the jobs of an ai pool. The default.
    Run(worker::Options),
    /// Print accuracy, macro-F1, coverage and confusion matrices on labelled posts, by language.
    Eval {
        /// Labelled posts, one JSON object per line: `text`, and any of `lang`, `label`, `topics`.
        file: PathBuf,
        /// Print the figures as JSON on the last line.
        #[arg(long)]
        json: bool,
    },
    /// Read one text per line from standard input, plain or as JSON `{"text": …}`, and print one
    /// JSON analysis per line.
    Classify,
    /// Print the requested and the actual execution provider, and why they differ.
    Provider {
        /// Also write the line to this file, if it exists.
        #[arg(long, default_value = "/dev/termination-log")]
        report: PathBuf,
    },
    /// As `classify`, but print embeddings.
    Embed,
    /// As `classify`, but print the token ids that the encoder reads.
    Tokens,
}

#[derive(Parser)]
struct Worker {
    #[command(flatten)]
    options: worker::Options,
}

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
