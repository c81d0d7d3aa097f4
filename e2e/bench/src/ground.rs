//! What every measurement stands on: one PostgreSQL, one RabbitMQ and one Redis for all sides, on loopback, gone at the end.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use switchyard_jobs::testing::{Postgres, Rabbit, Redis};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// PostgreSQL as it would be set on such a machine; the same server for all sides. What is promised is on disk before it is promised.
pub const POSTGRES_SETTINGS: &[&str] = &[
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "min_wal_size=2GB",
    "checkpoint_timeout=30min",
    "maintenance_work_mem=512MB",
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
];

/// Where the other sides' programs are.
#[derive(Debug, Clone, clap::Args)]
pub struct Peers {
    /// The folder of the peers' sources.
    #[arg(long)]
    pub peers: PathBuf,
    /// A Python with the packages of the peers' requirements.
    #[arg(long)]
    pub python: PathBuf,
    /// River's part, built.
    #[arg(long)]
    pub river: PathBuf,
    /// Class path of RabbitMQ's perf-test.
    #[arg(long)]
    pub perf_test: String,
    /// A Python with onnxruntime and tokenizers.
    #[arg(long)]
    pub python_onnxruntime: PathBuf,
    /// The model folder with both graphs.
    #[arg(long)]
    pub model: PathBuf,
    /// Posts, a line of JSON with a `text` each.
    #[arg(long)]
    pub texts: PathBuf,
}

/// The servers, and a folder for logs and mounts.
pub struct Ground {
    pub postgres: Postgres,
    pub rabbit: Rabbit,
    pub redis: Redis,
    pub peers: Peers,
    folder: tempfile::TempDir,
}

impl Ground {
    pub async fn begin(peers: Peers) -> anyhow::Result<Self> {
        Ok(Self {
            postgres: Postgres::own(POSTGRES_SETTINGS).await,
            rabbit: Rabbit::own().await,
            redis: Redis::own().await,
            peers,
            folder: tempfile::tempdir()?,
        })
    }

    /// Ends the servers and removes what they wrote.
    pub fn end(self) {
        self.postgres.end();
        self.rabbit.end();
        self.redis.end();
    }

    /// A folder for whatever the measurements write.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection to a database, as the superuser.
    pub async fn client(&self, database: &str) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.postgres.uri(database), NoTls).await?;
        tokio::spawn(async move {
            // Its end shows in the client's next call.
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Makes a database anew, as a copy of another one, and brings everything to disk: every measurement begins alike.
    pub async fn fresh(&self, database: &str, template: &str) -> anyhow::Result<()> {
        self.remove(database).await?;
        let client = self.client("postgres").await?;
        let until = Instant::now() + Duration::from_secs(20);
        let copy = format!("create database {database} template {template} strategy file_copy");
        // Connections to the template take a moment to go.
        while let Err(error) = client.batch_execute(&copy).await {
            if Instant::now() > until {
                return Err(error).with_context(|| format!("{template} cannot be copied"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        client.batch_execute("checkpoint").await?;
        Ok(())
    }

    /// Removes a database with whoever is connected to it.
    pub async fn remove(&self, database: &str) -> anyhow::Result<()> {
        let client = self.client("postgres").await?;
        client.batch_execute(&format!("drop database if exists {database} with (force)")).await?;
        Ok(())
    }
}
