//! `switchyard plan`: previews the objects of a platform and its pools, and their connection
//! budget.
//!
//! It plans with the functions of the controllers, up to the state after a successful setup. With a
//! cluster it compares with the live objects and sends every change as a dry run. Without one it
//! assumes that the referenced Secrets exist and are valid.

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

/// Plans, prints the result, and returns the exit code: 1 if something would be refused, 2 if
/// `--exit-code` is set and something would change, else 0.
///
/// # Errors
/// A file cannot be read or parsed, or the cluster does not answer.
#[expect(clippy::print_stdout, reason = "the output of the command")]
pub async fn run(options: &Options) -> anyhow::Result<u8> {
    let documents = read(options)?;
    let outcome = if options.offline {
        let namespace = options.namespace.as_deref().unwrap_or("default");
        offline::outcome(&documents, namespace, &Images::of_release())?
    } else {
        Box::pin(online::outcome(&documents, &online::Cluster::connect(options).await?)).await?
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
        bail!("the files contain neither an AnalyticsPlatform nor a WorkerPool: name other files with -f");
    }
    Ok(documents)
}
