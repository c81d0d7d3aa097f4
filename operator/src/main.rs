//! `switchyard-operator`: `run` runs the controllers, `plan` previews what they would do, `crds`
//! writes the custom resource definitions. Users install it as `switchyard` or as the kubectl
//! plugin `kubectl-switchyard`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of the command line")]

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context;
use clap::Parser as _;
use switchyard_operator::{
    cli::{Cli, Command},
    crd::generate,
    preview, run,
};

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
