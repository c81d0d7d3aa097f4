//! The command line of `switchyard-ai`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{model::Provider, worker};

/// Switchyard's ai worker, which also runs without a command.
#[derive(Parser)]
#[command(name = "switchyard-ai", version)]
pub struct Cli {
    /// Model folder, as built by `make models`.
    #[arg(long, global = true, env = "SWITCHYARD_MODEL_DIR", default_value = "/models")]
    pub model_dir: PathBuf,
    /// Execution provider of the model.
    #[arg(long, global = true, env = "SWITCHYARD_MODEL_PROVIDER", default_value = "cpu")]
    pub model_provider: Provider,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
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

/// The options of `run`, from the environment alone.
#[derive(Parser)]
pub struct Worker {
    #[command(flatten)]
    pub options: worker::Options,
}
