//! `switchyard plan`: what a platform and its pools would become, and whether their connections fit, before anything does.
//!
//! It plans with the controllers' own functions, up to the moment at which everything is set up. With a cluster it looks at what is there and has the
//! API server try every change without keeping it; without one it takes the Secrets that are named for right.

pub mod difference;
pub mod documents;
pub mod offline;
mod online;
pub mod outcome;
pub mod report;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use self::documents::Documents;
use crate::images::Images;

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct Options {
    /// File with AnalyticsPlatforms, WorkerPools, and Secrets if wanted; `-` is standard input. May be given several times.
    #[arg(short = 'f', long = "filename", required = true)]
    files: Vec<PathBuf>,
    /// Namespace of what says none. Left out, that of the current context, or `default`.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Context of the kubeconfig to use.
    #[arg(long)]
    context: Option<String>,
    /// Ask no cluster: show everything that would be made in an empty one.
    #[arg(long)]
    offline: bool,
    /// Where the operator runs, whose images the plan is made with.
    #[arg(long, default_value = "switchyard-system")]
    operator_namespace: String,
    /// text tells what changes; yaml prints the objects as they would be applied, Secrets left out.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// End with 2 when something would change, as `diff` does with 1.
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Yaml,
}

/// Plans, prints, and answers with the exit code: 0 when everything fits, 1 when something would be refused, 2 when asked to tell changes and there
/// are some.
///
/// # Errors
/// When a file is no such thing, or the cluster does not answer.
pub async fn run(options: &Options) -> anyhow::Result<u8> {
    let documents = read(options)?;
    let outcome = if options.offline {
        let namespace = options.namespace.as_deref().unwrap_or("default");
        offline::outcome(&documents, namespace, &Images::of_release())?
    } else {
        online::outcome(&documents, &online::Cluster::connect(options).await?).await?
    };
    match options.output {
        Format::Text => print!("{}", report::text(&outcome)),
        Format::Yaml => print!("{}", report::yaml(&outcome)?),
    }
    Ok(if outcome.is_refused() {
        1
    } else if options.exit_code && outcome.changes() > 0 {
        2
    } else {
        0
    })
}

fn read(options: &Options) -> anyhow::Result<Documents> {
    let mut documents = Documents::default();
    for path in &options.files {
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
        } else {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        };
        documents.add(&path.display().to_string(), &text)?;
    }
    if documents.platforms.is_empty() && documents.pools.is_empty() {
        bail!("there is neither an AnalyticsPlatform nor a WorkerPool in what was given: name their files with -f");
    }
    Ok(documents)
}
