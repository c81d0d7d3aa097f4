//! `switchyard-bench worker`: a real worker process whose work is nothing.

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde_json::json;
use switchyard_contract::{Config, Mount};
use switchyard_jobs::{
    handler::{Claimed, Handler, Outcome, RunContext},
    model::JobError,
    process::{self, Process},
};

/// How to do nothing.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    process: process::Options,
    /// Milliseconds that each job takes; half of the way it reports progress. 0 reports nothing.
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
}

struct Nothing {
    hold: Duration,
}

#[async_trait::async_trait]
impl Handler for Nothing {
    async fn run(&self, job: &Claimed, context: &RunContext) -> Result<Outcome, JobError> {
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
    let handler = Arc::new(Nothing { hold: Duration::from_millis(options.hold_ms) });
    process.run(&options.process, handler, || Ok(())).await?;
    Ok(())
}
