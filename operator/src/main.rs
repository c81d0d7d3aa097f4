//! `switchyard-operator`: `run` runs the controllers, `plan` previews what they would do, `crds`
//! writes the custom resource definitions. Users install it as `switchyard` or as the kubectl
//! plugin `kubectl-switchyard`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of the command line")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    /// Run the controllers in the cluster of the pod, or in that of KUBECONFIG.
    Run(Box<run::Options>),
    /// Preview the objects of platforms and pools, and whether their database connections fit.
    Plan(preview::options::Options),
    /// Write the custom resource definitions.
    Crds {
        /// Directory for one file per definition, instead of standard output.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("switchyard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("could not start the runtime")?;
            runtime.block_on(run::run(*options))?;
        }
        Command::Plan(options) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(preview::run(&options)).map(ExitCode::from);
        }
        Command::Crds { dir } => write_crds(dir.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write_crds(dir: Option<&Path>) -> anyhow::Result<()> {
    for document in generate::documents()? {
        match dir {
            Some(dir) => {
                let path = dir.join(&document.file);
                fs::write(&path, &document.yaml).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => print!("---\n{}", document.yaml),
        }
    }
    Ok(())
}
