//! The command line of `switchyard-operator`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{preview, run};

/// The operator of Switchyard.
#[derive(Debug, Parser)]
#[command(name = "switchyard-operator", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
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
