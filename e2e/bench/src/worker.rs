//! `switchyard-bench worker`: a real worker process whose own work is nothing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use switchyard_contract::{Config, Kind, Mount};
use switchyard_jobs::{
    handler::{Child, ClaimedJob, Handler, Outcome, RunContext, Step},
    model::JobError,
    process::{self, Process},
};

use crate::rows::posts::{CHUNK, PROFILE, texts};

/// How to do nothing.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    process: process::Options,
    /// Milliseconds that each job takes; half of the way it reports progress. 0 reports nothing.
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
    /// Give every job the posts of a profile, out of this file, for AI workers to analyse.
    #[arg(long)]
    posts: Option<PathBuf>,
}

struct Nothing {
    hold: Duration,
}

/// Fans every analysis out to chunks of posts.
struct Posts {
    texts: Vec<String>,
}

#[async_trait::async_trait]
impl Handler for Posts {
    async fn run(&self, job: &ClaimedJob, _: &RunContext) -> Result<Outcome, JobError> {
        if let Step::Join { children, .. } = &job.step {
            return Ok(Outcome::Complete(json!({ "chunks": children.len() })));
        }
        let from = usize::try_from(job.id.0.as_u128() % 1_000).unwrap_or(0);
        let posts: Vec<_> = (from..from + PROFILE)
            .map(|post| json!({ "id": post.to_string(), "text": self.texts[post % self.texts.len()] }))
            .collect();
        let child = |posts: &[Value]| Child { kind: Kind::Ai, input: json!({ "posts": posts }), required: true };
        let children = posts.chunks(CHUNK).map(child).collect();
        Ok(Outcome::Spawn { kept: json!({}), children, stage: "analysing" })
    }
}

#[async_trait::async_trait]
impl Handler for Nothing {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        if !self.hold.is_zero() {
            tokio::time::sleep(self.hold / 2).await;
            context.progress.report(50, "half");
            tokio::time::sleep(self.hold / 2).await;
        }
        Ok(Outcome::Complete(json!({ "profile": { "username": job.username } })))
    }
}

/// Works until it is asked to stop.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mount = Mount::from_env();
    let process = Process::open(Config::load(&mount)?, &mount, "switchyard-bench")?;
    let handler: Arc<dyn Handler> = match &options.posts {
        Some(path) => Arc::new(Posts { texts: texts(path)? }),
        None => Arc::new(Nothing { hold: Duration::from_millis(options.hold_ms) }),
    };
    process.run(&options.process, handler, || Ok(())).await?;
    Ok(())
}
