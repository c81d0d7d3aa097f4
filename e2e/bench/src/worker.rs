//! `switchyard-bench worker`: a real worker process whose handler does nothing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use switchyard_contract::{Config, Kind, Mount};
use switchyard_jobs::{
    handler::{Child, ClaimedJob, Handler, Outcome, RunContext, Step},
    model::JobError,
    runner::process::{self, Process},
};

use crate::scenarios::posts::{POSTS_PER_CHUNK, POSTS_PER_PROFILE, texts};

/// Arguments of `switchyard-bench worker`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    process: process::Options,
    /// Milliseconds per job; it reports progress once, halfway. With 0 it reports nothing.
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
    /// File of posts. Each job spawns AI jobs for the posts of one profile.
    #[arg(long)]
    posts: Option<PathBuf>,
}

/// Sleeps, then completes.
struct NoOp {
    hold: Duration,
}

/// Fans out each analysis into chunks of posts.
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
        let posts: Vec<_> = (from..from + POSTS_PER_PROFILE)
            .map(|post| json!({ "id": post.to_string(), "text": self.texts[post % self.texts.len()] }))
            .collect();
        let child = |posts: &[Value]| Child { kind: Kind::Ai, input: json!({ "posts": posts }), required: true };
        let children = posts.chunks(POSTS_PER_CHUNK).map(child).collect();
        Ok(Outcome::Spawn { kept: json!({}), children, stage: "analysing" })
    }
}

#[async_trait::async_trait]
impl Handler for NoOp {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        if !self.hold.is_zero() {
            tokio::time::sleep(self.hold / 2).await;
            context.progress.report(50, "half");
            tokio::time::sleep(self.hold / 2).await;
        }
        Ok(Outcome::Complete(json!({ "profile": { "username": job.username } })))
    }
}

/// Runs jobs until SIGTERM.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mount = Mount::from_env();
    let process = Process::open(Config::load(&mount)?, &mount, "switchyard-bench")?;
    let handler: Arc<dyn Handler> = match &options.posts {
        Some(path) => Arc::new(Posts { texts: texts(path)? }),
        None => Arc::new(NoOp { hold: Duration::from_millis(options.hold_ms) }),
    };
    process.run(&options.process, handler, || Ok(())).await?;
    Ok(())
}
