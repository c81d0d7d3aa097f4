//! `switchyard plan`: what a platform and its pools would become, and whether their connections fit, before anything does.
//!
//! It plans with the controllers' own functions, up to the moment at which everything is set up. With a cluster it looks at what is there and has the
//! API server try every change without keeping it; without one it takes the Secrets that are named for right.

pub mod difference;
pub mod documents;
pub mod offline;
mod online;
pub mod options;
pub mod outcome;
pub mod report;

use anyhow::{Context as _, bail};

use crate::{
    preview::{
        documents::Documents,
        options::{Format, Options},
    },
    spec::images::Images,
};

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
