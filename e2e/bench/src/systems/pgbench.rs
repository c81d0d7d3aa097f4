//! pgbench on Switchyard's schema: the throughput of PostgreSQL alone.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    fixture::Fixture,
    process::{Process, run},
};

/// Bare writes in one statement: charge the tenant, insert the job and the ledger entry. Only table
/// constraints are checked.
pub const PLAIN: &str = include_str!("../../sql/plain.sql");
/// Switchyard's admission, one request per call.
pub const SUBMIT: &str = include_str!("../../sql/submit.sql");

/// Transactions per second of `clients` connections that each run `script` in a loop with prepared
/// statements.
pub async fn transactions(
    fixture: &Fixture,
    database: &str,
    script: &str,
    clients: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let file = fixture.folder().join("pgbench.sql");
    std::fs::write(&file, script)?;
    let mut command = Process::command("pgbench");
    command.args(["--no-vacuum", "--protocol", "prepared", "--jobs", "2", "--client", &clients.to_string()]);
    command.args(["--time", &duration.as_secs().max(1).to_string(), "--file"]).arg(&file);
    command.arg(fixture.postgres.uri(database));
    let output = run("pgbench", command).await?;
    rate(&output).with_context(|| format!("no rate in the output of pgbench: {output}"))
}

fn rate(output: &str) -> Option<f64> {
    let (_, rest) = output.rsplit_once("tps = ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_the_last_one_in_the_output() {
        assert_eq!(rate("latency average = 3 ms\ntps = 9760.12 (without initial connection time)\n"), Some(9760.12));
        assert_eq!(rate("could not connect"), None);
    }
}
