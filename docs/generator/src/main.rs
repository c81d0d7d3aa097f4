//! `switchyard-reference`: writes `docs/reference`, or checks that it is up to date.

#![expect(clippy::print_stderr, reason = "a program of the command line")]

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use switchyard_reference::{differences, pages};

/// Generates the reference documentation from the code.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Folder of the pages, below the root.
    #[arg(long, default_value = "docs/reference")]
    dir: PathBuf,
    /// Write nothing. Print which pages are out of date, and exit with 1 if any is.
    #[arg(long)]
    check: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let dir = arguments.root.join(&arguments.dir);
    let pages = pages(&arguments.root)?;
    if arguments.check {
        let found = differences(&pages, &dir);
        for difference in &found {
            eprintln!("{difference}");
        }
        return Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for page in pages {
        let path = dir.join(page.file);
        fs::write(&path, page.text()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
