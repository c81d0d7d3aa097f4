//! `switchyard-simulate`: compares how Switchyard's rule and a queue-length rule size a pool.

#![expect(clippy::print_stdout, reason = "a program of the command line")]

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use switchyard_simulator::{pattern, report};

const BEGIN: &str = "<!-- simulation: written by `make simulate` -->\n";
const END: &str = "<!-- end of simulation -->";

/// Simulates every load pattern with every rule and prints a table.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Patterns, comma separated; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Markdown file to write the table to, between its markers.
    #[arg(long)]
    into: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut patterns = pattern::all(arguments.seed)?;
    patterns.retain(|pattern| arguments.only.is_empty() || arguments.only.iter().any(|name| name == pattern.name));
    let table = report::markdown(&report::simulate(patterns), arguments.seed);
    let Some(path) = &arguments.into else {
        print!("{table}");
        return Ok(());
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{} has no line {BEGIN}", path.display()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{} has no {END}", path.display()))?;
    std::fs::write(path, format!("{before}{BEGIN}\n{table}\n{END}{after}"))
        .with_context(|| format!("could not write {}", path.display()))
}
