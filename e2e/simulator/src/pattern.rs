//! What comes: jobs, and what goes wrong meanwhile.

use anyhow::{Context, bail};
use rand::{Rng, SeedableRng, rngs::StdRng};
use switchyard_contract::Lane;

use crate::{Time, milliseconds};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
/// Seconds that a job takes in the mean.
pub const SERVICE: f64 = 4.0;
/// Spread of the logarithm of that time.
const SPREAD: f64 = 0.6;
/// Jobs in a hundred of each lane.
const MIX: [(Lane, f64); 4] = [(Lane::Critical, 10.0), (Lane::High, 20.0), (Lane::Normal, 50.0), (Lane::Low, 20.0)];

/// A job that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    pub at: Time,
    pub lane: Lane,
    /// How long it holds a slot.
    pub takes: Time,
}

/// A time of load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub name: &'static str,
    pub what: &'static str,
    pub lasts: Time,
    /// In the order in which they come.
    pub jobs: Vec<Job>,
    /// When database and broker are away: nothing is claimed and nothing known.
    pub away: Option<(Time, Time)>,
    /// Fewest and most pods.
    pub bounds: (u32, u32),
}

/// Jobs a day as they are recorded: one line a step, jobs in it.
const TRACE: &str = include_str!("../traces/synthetic-day.csv");

/// All patterns, by `seed`.
///
/// # Errors
/// When the trace cannot be read.
pub fn all(seed: u64) -> anyhow::Result<Vec<Pattern>> {
    let trace = trace(TRACE)?;
    let at = |rates: &[f64], step: f64, time: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
        rates.get((time / step) as usize).copied().unwrap_or(0.0)
    };
    let mut make = Maker { seed, made: 0 };
    let mut patterns = vec![
        make.pattern("noise", "6 jobs/s by chance alone, 4 h", 4.0 * HOUR, |_| 6.0),
        make.pattern("step", "2 jobs/s, from 30 min on 12 jobs/s, from 90 min on 2 jobs/s again", 2.0 * HOUR, |t| {
            if (30.0 * MINUTE..90.0 * MINUTE).contains(&t) { 12.0 } else { 2.0 }
        }),
        make.pattern("bursts", "1 job/s, and 600 jobs within 20 s every 20 min", 3.0 * HOUR, |t| {
            if t % (20.0 * MINUTE) >= 20.0 * MINUTE - 20.0 { 30.0 } else { 1.0 }
        }),
        make.pattern("day", "a day between 0.5 and 12 jobs/s, as a sine", 24.0 * HOUR, |t| {
            6.25 - 5.75 * (t / (24.0 * HOUR) * std::f64::consts::TAU).cos()
        }),
        make.pattern(
            "sawtooth",
            "2 min at 10 jobs/s, 5.5 min at 0.5 jobs/s: a window of 5 min has just passed",
            3.0 * HOUR,
            |t| {
                if t % (7.5 * MINUTE) < 2.0 * MINUTE { 10.0 } else { 0.5 }
            },
        ),
        make.pattern(
            "long sawtooth",
            "2 min at 10 jobs/s, 9.5 min at 0.5 jobs/s: a window of 8 min has just passed",
            3.0 * HOUR,
            |t| {
                if t % (11.5 * MINUTE) < 2.0 * MINUTE { 10.0 } else { 0.5 }
            },
        ),
        make.pattern(
            "trace",
            "eight working hours from a file, synthetic: a slow morning, imports on the hour, a campaign",
            8.0 * HOUR,
            |t| at(&trace.rates, trace.step, t),
        ),
    ];
    let slow = (40.0 * MINUTE, 80.0 * MINUTE);
    let mut slower = make.pattern("slow", "4 jobs/s that take twice as long from 40 to 80 min", 2.0 * HOUR, |_| 4.0);
    for job in &mut slower.jobs {
        if (milliseconds(slow.0)..milliseconds(slow.1)).contains(&job.at) {
            job.takes *= 2;
        }
    }
    patterns.push(slower);
    let away = make.pattern(
        "away",
        "4 jobs/s; database and broker away from 30 to 40 min, lanes fill up",
        80.0 * MINUTE,
        |_| 4.0,
    );
    patterns.push(Pattern { away: Some((milliseconds(30.0 * MINUTE), milliseconds(40.0 * MINUTE))), ..away });
    patterns.push(Pattern {
        jobs: [20.0, 40.0, 62.0]
            .map(|minutes| Job { at: milliseconds(minutes * MINUTE), lane: Lane::Normal, takes: milliseconds(SERVICE) })
            .to_vec(),
        bounds: (0, 20),
        ..make.pattern(
            "zero",
            "a single job after 20, 40 and 62 min of nothing; the pool may have no pods",
            80.0 * MINUTE,
            |_| 0.0,
        )
    });
    Ok(patterns)
}

struct Maker {
    seed: u64,
    made: u64,
}

impl Maker {
    /// Jobs that come independently of each other, at `rate` a second.
    fn pattern(&mut self, name: &'static str, what: &'static str, lasts: f64, rate: impl Fn(f64) -> f64) -> Pattern {
        self.made += 1;
        let mut chance = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(self.made));
        let mut jobs = Vec::new();
        // Candidates at the highest rate there is, of which each is kept as the rate of its moment has it (thinning).
        let most = 40.0;
        let mut time = 0.0;
        loop {
            time -= (1.0 - chance.random::<f64>()).ln() / most;
            if time >= lasts {
                break;
            }
            if chance.random::<f64>() * most < rate(time) {
                jobs.push(Job {
                    at: milliseconds(time),
                    lane: lane(&mut chance),
                    takes: milliseconds(takes(&mut chance)),
                });
            }
        }
        Pattern { name, what, lasts: milliseconds(lasts), jobs, away: None, bounds: (1, 20) }
    }
}

fn lane(chance: &mut StdRng) -> Lane {
    let mut at = chance.random::<f64>() * 100.0;
    for (lane, part) in MIX {
        if at < part {
            return lane;
        }
        at -= part;
    }
    Lane::Low
}

/// A log-normal time with the mean [`SERVICE`], at least 0.1 s.
fn takes(chance: &mut StdRng) -> f64 {
    let (a, b) = (1.0 - chance.random::<f64>(), chance.random::<f64>());
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    (SERVICE.ln() - SPREAD * SPREAD / 2.0 + SPREAD * normal).exp().max(0.1)
}

struct Trace {
    step: f64,
    rates: Vec<f64>,
}

/// Lines `second,jobs` at equal steps, after `#` comments and a heading.
fn trace(text: &str) -> anyhow::Result<Trace> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let (second, jobs) = line.split_once(',').with_context(|| format!("the trace says '{line}'"))?;
        lines.push((second.parse::<f64>()?, jobs.parse::<f64>()?));
    }
    let [(first, _), (second, _), ..] = lines[..] else { bail!("the trace has fewer than two lines") };
    let step = second - first;
    Ok(Trace { step, rates: lines.iter().map(|(_, jobs)| jobs / step).collect() })
}
