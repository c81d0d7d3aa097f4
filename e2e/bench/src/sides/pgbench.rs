//! pgbench on our own schema: what PostgreSQL does of itself when nothing stands before it.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    ground::Ground,
    process::{Process, run},
};

/// One statement: the tenant pays, the job and the ledger entry are made. No check but the ones in the tables.
pub const PLAIN: &str = include_str!("../../sql/plain.sql");
/// Our own admission, one request a call.
pub const SUBMIT: &str = include_str!("../../sql/submit.sql");

/// Transactions a second of `clients` connections that each send `script` over and over, prepared.
pub async fn transactions(
    ground: &Ground,
    database: &str,
    script: &str,
    clients: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let file = ground.folder().join("pgbench.sql");
    std::fs::write(&file, script)?;
    let mut command = Process::command("pgbench");
    command.args(["--no-vacuum", "--protocol", "prepared", "--jobs", "2", "--client", &clients.to_string()]);
    command.args(["--time", &duration.as_secs().max(1).to_string(), "--file"]).arg(&file);
    command.arg(ground.postgres.uri(database));
    let said = run("pgbench", command).await?;
    rate(&said).with_context(|| format!("pgbench told no rate: {said}"))
}

fn rate(said: &str) -> Option<f64> {
    let (_, rest) = said.rsplit_once("tps = ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_one_that_pgbench_tells_last() {
        assert_eq!(rate("latency average = 3 ms\ntps = 9760.12 (without initial connection time)\n"), Some(9760.12));
        assert_eq!(rate("could not connect"), None);
    }
}
