//! Command line of `switchyard plan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct Options {
    /// File with AnalyticsPlatforms, WorkerPools and, optionally, Secrets; `-` is standard input.
    /// Can be repeated.
    #[arg(short = 'f', long = "filename", required = true)]
    pub files: Vec<PathBuf>,
    /// Namespace of objects without one. Defaults to that of the current context, or `default`.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig to use.
    #[arg(long)]
    pub context: Option<String>,
    /// Plan without a cluster: show everything that would be created in an empty one.
    #[arg(long)]
    pub offline: bool,
    /// Namespace of the operator. The plan uses its images.
    #[arg(long, default_value = "switchyard-system")]
    pub operator_namespace: String,
    /// text prints the changes; yaml prints the objects that would be applied, without Secrets.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Exit with 2 if something would change.
    #[arg(long)]
    pub exit_code: bool,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Yaml,
}
