//! Describes the versions of the programs in a run.

use std::{fmt::Write as _, fs};

use crate::{
    fixture::{Fixture, POSTGRES_SETTINGS},
    process::{Process, run},
};

/// The versions of the servers and of the peers, as a Markdown list.
pub async fn describe(fixture: &Fixture) -> anyhow::Result<String> {
    let mut out = String::new();
    let postgres = fixture.client("postgres").await?;
    let version: String = postgres.query_one("show server_version", &[]).await?.get(0);
    writeln!(
        out,
        "- PostgreSQL {version} ({}), RabbitMQ {}, {}",
        POSTGRES_SETTINGS.join(", "),
        rabbitmq(),
        redis().await?
    )?;
    writeln!(
        out,
        "- Peers: {}; River {}; perf-test {}; {}",
        python(fixture)?,
        river(fixture)?,
        perf_test(fixture)?,
        pgbench().await?
    )?;
    Ok(out)
}

/// RabbitMQ's version, from the name of the package's folder.
fn rabbitmq() -> String {
    let found = fs::read_dir("/usr/lib/rabbitmq/lib")
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|entry| entry.file_name().to_string_lossy().strip_prefix("rabbitmq_server-").map(str::to_owned));
    found.unwrap_or_else(|| "(unknown version)".to_owned())
}

async fn redis() -> anyhow::Result<String> {
    let mut command = Process::command("redis-server");
    command.arg("--version");
    let output = run("redis-server --version", command).await?;
    Ok(output
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="))
        .map_or_else(|| output.clone(), |v| format!("Redis {v}")))
}

async fn pgbench() -> anyhow::Result<String> {
    let mut command = Process::command("pgbench");
    command.arg("--version");
    Ok(run("pgbench --version", command).await?.trim().to_owned())
}

/// Versions of the packages on the request path, from the requirements file.
fn python(fixture: &Fixture) -> anyhow::Result<String> {
    let text = fs::read_to_string(fixture.peers.peers.join("requirements.txt"))?;
    let pinned = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("=="));
        format!("{name} {}", line.map_or("?", |version| version.trim_end_matches([' ', '\\'])))
    };
    Ok(["fastapi", "uvicorn", "uvloop", "httptools", "asyncpg", "celery", "redis", "hiredis", "psycopg2-binary"]
        .map(pinned)
        .join(", "))
}

fn river(fixture: &Fixture) -> anyhow::Result<String> {
    let text = fs::read_to_string(fixture.peers.peers.join("river/go.mod"))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("github.com/riverqueue/river "));
    Ok(version.unwrap_or("?").to_owned())
}

fn perf_test(fixture: &Fixture) -> anyhow::Result<String> {
    let text = fs::read_to_string(fixture.peers.peers.join("perf-test/jars.sha256"))?;
    let jar = text
        .split_whitespace()
        .find_map(|word| word.rsplit('/').next()?.strip_prefix("perf-test-")?.strip_suffix(".jar"));
    Ok(jar.unwrap_or("?").to_owned())
}
