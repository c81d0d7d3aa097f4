//! `switchyard-operator`: `run` runs the controllers, `plan` tells what they would do, `crds` writes the custom resource definitions. For people it
//! is installed as `switchyard`, and as the kubectl plug-in `kubectl-switchyard`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use switchyard_operator::{crd::generate, preview, run};

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
    /// Tell what platforms and pools would become, and whether their database connections fit, before anything does.
    Plan(preview::options::Options),
    /// Write the custom resource definitions.
    Crds {
        /// A folder for one file each, instead of standard output.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("switchyard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("cannot start the runtime")?;
            runtime.block_on(run::run(*options))?;
        }
        Command::Plan(options) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(preview::run(&options)).map(ExitCode::from);
        }
        Command::Crds { dir } => write_crds(dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write_crds(dir: Option<PathBuf>) -> anyhow::Result<()> {
    for document in generate::documents()? {
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
