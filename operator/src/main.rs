//! `switchyard-operator`: `run` runs the controllers, `crds` writes the custom resource definitions.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use switchyard_operator::{api::crd, run};

/// The operator of Switchyard.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controllers against the cluster of the pod, or of KUBECONFIG.
    Run(Box<run::Options>),
    /// Write the custom resource definitions.
    Crds {
        /// A folder for one file each, instead of standard output.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(options) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(run::run(*options)),
        Command::Crds { dir } => write_crds(dir),
    }
}

fn write_crds(dir: Option<PathBuf>) -> anyhow::Result<()> {
    for document in crd::documents()? {
        match &dir {
            Some(dir) => {
                let path = dir.join(&document.file);
                fs::write(&path, &document.yaml).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => print!("---\n{}", document.yaml),
        }
    }
    Ok(())
}
