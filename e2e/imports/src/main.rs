//! Prints the circles of imports below the given source folders; exits with 1 when there is one.

#![expect(clippy::print_stdout, reason = "a program of the command line")]

use std::{path::PathBuf, process::ExitCode};

use switchyard_imports::graph::Graph;

fn main() -> anyhow::Result<ExitCode> {
    let mut found = false;
    for folder in std::env::args_os().skip(1).map(PathBuf::from) {
        for root in ["lib.rs", "main.rs"].map(|name| folder.join(name)).into_iter().filter(|root| root.is_file()) {
            for circle in Graph::of(&root)?.circles() {
                found = true;
                println!("{}: {circle}", root.display());
            }
        }
    }
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
