//! `switchyard-ai`: the AI worker, and its models on the command line.

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use switchyard_ai::{commands, model::Provider, worker};
use switchyard_contract::Mount;
use switchyard_jobs::runner::process;

/// Switchyard's AI worker. Without a command it runs as one.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The folder that `make models` built.
    #[arg(long, global = true, env = "SWITCHYARD_MODEL_DIR", default_value = "/models")]
    model_dir: PathBuf,
    /// Where the model runs.
    #[arg(long, global = true, env = "SWITCHYARD_MODEL_PROVIDER", default_value = "cpu")]
    model_provider: Provider,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Take jobs of the ai pool; what happens without a command.
    Run(worker::Options),
    /// Print accuracy, macro-F1, coverage and confusion on labelled posts, for each language.
    Eval {
        /// One JSON object a line: `text`, and any of `lang`, `label`, `topics`.
        file: PathBuf,
        /// End with one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read texts on standard input, one a line or as JSON `{"text": …}`, and print one JSON analysis a line.
    Classify,
    /// Print where the model runs, and why not where it was to; for people, and for the operator.
    Provider {
        /// Written as well where it exists.
        #[arg(long, default_value = "/dev/termination-log")]
        report: PathBuf,
    },
    /// As `classify`, printing the encoder's vectors.
    Embed,
    /// As `classify`, printing the numbers of the words that the encoder reads.
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
    // Without a command the worker's options come from the environment alone.
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
    process::run_main(worker::run(options, model, provider, &Mount::from_env())).await
}
