//! Command line of `switchyard plan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct Options {
    /// File with AnalyticsPlatforms, WorkerPools, and Secrets if wanted; `-` is standard input. May be given several times.
    #[arg(short = 'f', long = "filename", required = true)]
    pub files: Vec<PathBuf>,
    /// Namespace of what says none. Left out, that of the current context, or `default`.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig to use.
    #[arg(long)]
    pub context: Option<String>,
    /// Ask no cluster: show everything that would be made in an empty one.
    #[arg(long)]
    pub offline: bool,
    /// Where the operator runs, whose images the plan is made with.
    #[arg(long, default_value = "switchyard-system")]
    pub operator_namespace: String,
    /// text tells what changes; yaml prints the objects as they would be applied, Secrets left out.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// End with 2 when something would change, as `diff` does with 1.
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Yaml,
}
