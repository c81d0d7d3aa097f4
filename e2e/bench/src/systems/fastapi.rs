//! FastAPI with four Uvicorn workers, asyncpg, Redis and Celery, on a database with the same
//! tenants.

use std::net::SocketAddr;

use crate::{
    fixture::Fixture,
    process::{Process, free_port},
};

/// The template database that each measurement copies.
pub const TEMPLATE: &str = "fastapi";
/// Uvicorn worker processes.
const WORKERS: usize = 4;
/// Database connections per worker: four times eight serve 32 concurrent requests.
const CONNECTIONS: usize = 8;

/// Creates the template with the tenants of Switchyard's template.
pub async fn prepare(fixture: &Fixture) -> anyhow::Result<()> {
    let postgres = fixture.client("postgres").await?;
    postgres.batch_execute(&format!("create database {TEMPLATE}")).await?;
    let ours = fixture.client(super::switchyard::TEMPLATE).await?;
    let theirs = fixture.client(TEMPLATE).await?;
    theirs.batch_execute(&std::fs::read_to_string(fixture.peers.peers.join("fastapi/schema.sql"))?).await?;
    for row in ours.query("select tenant_id, key_hash from bench_tenants", &[]).await? {
        let (tenant, hash): (uuid::Uuid, Vec<u8>) = (row.get(0), row.get(1));
        theirs
            .execute("insert into tenants (id, tier, credits) values ($1, 'enterprise', 1000000000)", &[&tenant])
            .await?;
        theirs.execute("insert into api_keys (hash, tenant_id) values ($1, $2)", &[&hash, &tenant]).await?;
    }
    theirs.batch_execute("vacuum (analyze)").await?;
    Ok(())
}

/// A running FastAPI service.
pub struct FastApi {
    pub process: Process,
    pub address: SocketAddr,
}

impl FastApi {
    /// Starts the service on `database` with its own cache and queue, and waits until every worker
    /// is ready.
    pub async fn start(fixture: &Fixture, database: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Process::command(&fixture.peers.python);
        command.args(["-m", "uvicorn", "api:app", "--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools"]);
        command.args(["--no-access-log", "--port", &port.to_string(), "--workers", &WORKERS.to_string()]);
        command
            .current_dir(fixture.peers.peers.join("fastapi"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("BENCH_DATABASE", fixture.postgres.uri(database))
            .env("BENCH_REDIS", fixture.redis.database())
            .env("BENCH_POOL", CONNECTIONS.to_string());
        let mut process = Process::start("fastapi", command, fixture.folder())?;
        process.wait_for_log("Application startup complete.", WORKERS).await?;
        Ok(Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}
