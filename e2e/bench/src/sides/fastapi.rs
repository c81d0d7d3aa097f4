//! FastAPI with four Uvicorn workers, asyncpg, Redis and Celery, over a database with the same tenants.

use std::net::SocketAddr;

use crate::{
    ground::Ground,
    process::{Process, free_port},
};

/// The database that others are copied from.
pub const TEMPLATE: &str = "fastapi";
const WORKERS: usize = 4;
/// Connections of each worker: four times eight serve 32 requests at once.
const CONNECTIONS: usize = 8;

/// Makes the template, with the tenants of Switchyard's one.
pub async fn prepare(ground: &Ground) -> anyhow::Result<()> {
    let postgres = ground.client("postgres").await?;
    postgres.batch_execute(&format!("create database {TEMPLATE}")).await?;
    let ours = ground.client(super::switchyard::TEMPLATE).await?;
    let theirs = ground.client(TEMPLATE).await?;
    theirs.batch_execute(&std::fs::read_to_string(ground.peers.peers.join("fastapi/schema.sql"))?).await?;
    for row in ours.query("select tenant_id, key_hash from drawn", &[]).await? {
        let (tenant, hash): (uuid::Uuid, Vec<u8>) = (row.get(0), row.get(1));
        theirs
            .execute("insert into tenants (id, tier, credits) values ($1, 'enterprise', 1000000000)", &[&tenant])
            .await?;
        theirs.execute("insert into api_keys (hash, tenant_id) values ($1, $2)", &[&hash, &tenant]).await?;
    }
    theirs.batch_execute("vacuum (analyze)").await?;
    Ok(())
}

/// The running service.
pub struct FastApi {
    pub process: Process,
    pub address: SocketAddr,
}

impl FastApi {
    /// Starts it over `database` with a cache and queue of its own, and waits until every worker is ready.
    pub async fn start(ground: &Ground, database: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Process::command(&ground.peers.python);
        command.args(["-m", "uvicorn", "api:app", "--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools"]);
        command.args(["--no-access-log", "--port", &port.to_string(), "--workers", &WORKERS.to_string()]);
        command
            .current_dir(ground.peers.peers.join("fastapi"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("BENCH_DATABASE", ground.postgres.uri(database))
            .env("BENCH_REDIS", ground.redis.database())
            .env("BENCH_POOL", CONNECTIONS.to_string());
        let mut process = Process::start("fastapi", command, ground.folder())?;
        process.says("Application startup complete.", WORKERS).await?;
        Ok(Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}
