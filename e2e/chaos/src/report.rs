//! The report of a run.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    checks::{self, Violation},
    faults::FaultCounts,
    processes::ENDS_WHEN_ASKED,
};

/// Violations printed per check.
const SHOWN: usize = 10;

/// Names of all checks of a run.
fn check_names() -> impl Iterator<Item = &'static str> {
    checks::ALL.iter().map(|check| check.name).chain([ENDS_WHEN_ASKED])
}

/// The results of a run.
pub struct Report {
    pub seed: u64,
    /// How long load and faults lasted.
    pub load: Duration,
    /// Time until all jobs had ended and all queues were empty.
    pub settle_time: Duration,
    pub faults: FaultCounts,
    /// Calls by kind and outcome.
    pub calls: BTreeMap<String, u32>,
    /// Jobs by origin and state, from the database.
    pub jobs: Vec<(String, i64)>,
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, load, settle_time, .. } = self;
        writeln!(
            f,
            "seed {seed}: {:.0} s of load and faults, settled {:.1} s later",
            load.as_secs_f64(),
            settle_time.as_secs_f64()
        )?;
        writeln!(f, "  faults")?;
        for (name, count) in &self.faults {
            writeln!(f, "    {count:>6}  {name}")?;
        }
        writeln!(f, "  callers")?;
        for (name, count) in &self.calls {
            writeln!(f, "    {count:>6}  {name}")?;
        }
        writeln!(f, "  jobs")?;
        for (name, count) in &self.jobs {
            writeln!(f, "    {count:>6}  {name}")?;
        }
        if self.violations.is_empty() {
            let names: Vec<String> = check_names().map(|name| name.replace('_', " ")).collect();
            return write!(f, "  all {} checks passed: {}", names.len(), names.join(", "));
        }
        writeln!(f, "  FAILED with {} violations; repeat the run with --seed {seed}", self.violations.len())?;
        for name in check_names() {
            let found: Vec<&Violation> = self.violations.iter().filter(|violation| violation.check == name).collect();
            for violation in found.iter().take(SHOWN) {
                writeln!(f, "    {violation}")?;
            }
            if found.len() > SHOWN {
                writeln!(f, "    {}: and {} more", name, found.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
