//! The operator's process, measured from outside.

use std::ops::Sub;

use anyhow::{Context, Result};

/// The operator under test.
pub struct Operator {
    pub pid: u32,
    /// URL of its metrics.
    pub metrics: String,
}

/// Calls of the API server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Calls {
    pub reads: u64,
    pub writes: u64,
}

impl Calls {
    /// Reads and writes.
    pub const fn total(self) -> u64 {
        self.reads + self.writes
    }
}

impl Sub for Calls {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { reads: self.reads - other.reads, writes: self.writes - other.writes }
    }
}

/// Memory in MiB.
pub struct Memory {
    pub resident: f64,
    pub peak: f64,
}

impl Operator {
    /// Calls of the API server so far, without those of the leader election.
    pub async fn calls(&self) -> Result<Calls> {
        let text = reqwest::get(&self.metrics).await?.error_for_status()?.text().await?;
        let mut calls = Calls::default();
        for line in text.lines().filter(|line| line.starts_with("switchyard_operator_api_calls_total{")) {
            let (labels, count) = line.rsplit_once(' ').context("the metric has no value")?;
            let count: u64 = count.parse()?;
            if labels.contains("verb=\"GET\"") { calls.reads += count } else { calls.writes += count }
        }
        Ok(calls)
    }

    /// Current and peak resident memory.
    pub fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the operator has ended")?;
        let value = |key: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(key)).with_context(|| format!("no {key}"))?;
            let kibi: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
            Ok(kibi / 1024.0)
        };
        Ok(Memory { resident: value("VmRSS:")?, peak: value("VmHWM:")? })
    }

    /// CPU time so far, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / 100.0)
    }
}
