//! What a run came to, for people.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    checks::{self, Broken},
    faults::Done,
    fleet::ENDS_WHEN_ASKED,
};

/// Places where one promise is broken that are told one by one.
const SHOWN: usize = 10;

/// Everything that a run is held against.
fn promises() -> impl Iterator<Item = &'static str> {
    checks::ALL.iter().map(|check| check.name).chain([ENDS_WHEN_ASKED])
}

/// One run.
pub struct Report {
    pub seed: u64,
    /// How long load and faults lasted.
    pub load: Duration,
    /// How long it took until everything had come to rest.
    pub rest: Duration,
    pub faults: Done,
    /// What callers did and were told.
    pub calls: BTreeMap<String, u32>,
    /// Jobs by sort and state, from the database.
    pub jobs: Vec<(String, i64)>,
    pub broken: Vec<Broken>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, load, rest, .. } = self;
        writeln!(
            f,
            "seed {seed}: {:.0} s of load and faults, at rest {:.1} s later",
            load.as_secs_f64(),
            rest.as_secs_f64()
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
        if self.broken.is_empty() {
            let names: Vec<String> = promises().map(|name| name.replace('_', " ")).collect();
            return write!(f, "  held, each of {}: {}", names.len(), names.join(", "));
        }
        writeln!(f, "  BROKEN, in {} places; run it again with --seed {seed}", self.broken.len())?;
        for name in promises() {
            let places: Vec<&Broken> = self.broken.iter().filter(|broken| broken.check == name).collect();
            for broken in places.iter().take(SHOWN) {
                writeln!(f, "    {broken}")?;
            }
            if places.len() > SHOWN {
                writeln!(f, "    {}: and {} more", name, places.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
