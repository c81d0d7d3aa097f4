//! `switchyard-simulate`: compares how Switchyard's rule and a queue-length rule size a pool.

#![expect(clippy::print_stdout, reason = "a program of the command line")]

use clap::Parser;
use switchyard_simulator::{pattern, report};

/// Simulates every load pattern with every rule and prints a page.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Patterns, comma separated; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut patterns = pattern::all(arguments.seed)?;
    patterns.retain(|pattern| arguments.only.is_empty() || arguments.only.iter().any(|name| name == pattern.name));
    print!("{}", report::markdown(&report::simulate(patterns), arguments.seed));
    Ok(())
}
