//! The fixture of every measurement: one PostgreSQL, one RabbitMQ and one Redis on loopback. All
//! systems under test share them, and they are removed at the end.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use switchyard_jobs::testing::{Postgres, Rabbit, Redis};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// PostgreSQL settings for a machine of this size, the same for all systems under test. A commit is
/// on disk before it is acknowledged.
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

/// Paths of the peers' programs.
#[derive(Debug, Clone, clap::Args)]
pub struct Peers {
    /// Folder of the peers' sources.
    #[arg(long)]
    pub peers: PathBuf,
    /// Python interpreter with the packages of the peers' requirements.
    #[arg(long)]
    pub python: PathBuf,
    /// The built River program.
    #[arg(long)]
    pub river: PathBuf,
    /// Class path of RabbitMQ's perf-test.
    #[arg(long)]
    pub perf_test: String,
    /// Python interpreter with onnxruntime and tokenizers.
    #[arg(long)]
    pub python_onnxruntime: PathBuf,
    /// Model folder with both graphs.
    #[arg(long)]
    pub model: PathBuf,
    /// File of posts: one JSON object with a `text` per line.
    #[arg(long)]
    pub texts: PathBuf,
}

/// The running servers, and a folder for logs and mounts.
pub struct Fixture {
    pub postgres: Postgres,
    pub rabbit: Rabbit,
    pub redis: Redis,
    pub peers: Peers,
    folder: tempfile::TempDir,
}

impl Fixture {
    /// Starts the servers.
    pub async fn start(peers: Peers) -> anyhow::Result<Self> {
        Ok(Self {
            postgres: Postgres::own(POSTGRES_SETTINGS).await,
            rabbit: Rabbit::own().await,
            redis: Redis::own().await,
            peers,
            folder: tempfile::tempdir()?,
        })
    }

    /// Stops the servers and removes their data.
    pub fn stop(self) {
        self.postgres.end();
        self.rabbit.end();
        self.redis.end();
    }

    /// The folder for logs, scripts and mounts of the measurements.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Connects to a database as the superuser.
    pub async fn client(&self, database: &str) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.postgres.uri(database), NoTls).await?;
        tokio::spawn(async move {
            // The client's next call reports a broken connection.
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Recreates `database` as a copy of `template` and runs a checkpoint, so that every
    /// measurement starts from the same state.
    pub async fn recreate_database(&self, database: &str, template: &str) -> anyhow::Result<()> {
        self.drop_database(database).await?;
        let client = self.client("postgres").await?;
        let until = Instant::now() + Duration::from_secs(20);
        let copy = format!("create database {database} template {template} strategy file_copy");
        // Connections to the template take a moment to close.
        while let Err(error) = client.batch_execute(&copy).await {
            if Instant::now() > until {
                return Err(error).with_context(|| format!("could not copy database {template}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        client.batch_execute("checkpoint").await?;
        Ok(())
    }

    /// Drops a database and closes its connections.
    pub async fn drop_database(&self, database: &str) -> anyhow::Result<()> {
        let client = self.client("postgres").await?;
        client.batch_execute(&format!("drop database if exists {database} with (force)")).await?;
        Ok(())
    }
}
