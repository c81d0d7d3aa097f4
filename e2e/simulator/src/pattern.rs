//! Load patterns: arriving jobs, and outages.

use anyhow::{Context, bail};
use rand::{Rng, SeedableRng, rngs::StdRng};
use switchyard_contract::Lane;
use switchyard_operator::spec::replicas::ScalingBounds;

use crate::time::{Time, milliseconds};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
/// Mean service time of a job, in seconds.
pub const SERVICE: f64 = 4.0;
/// Standard deviation of the logarithm of the service time.
const SPREAD: f64 = 0.6;
/// Share of each lane, in percent.
const MIX: [(Lane, f64); 4] = [(Lane::Critical, 10.0), (Lane::High, 20.0), (Lane::Normal, 50.0), (Lane::Low, 20.0)];

/// An arriving job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Arrival time.
    pub at: Time,
    pub lane: Lane,
    /// Service time: how long it holds a slot.
    pub takes: Time,
}

/// A load pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub name: &'static str,
    /// What it is, for the report.
    pub description: &'static str,
    pub duration: Time,
    /// In order of arrival.
    pub jobs: Vec<Job>,
    /// An outage of database and broker, as start and end: no claims, no statistics.
    pub outage: Option<(Time, Time)>,
    /// Minimum and maximum pods.
    pub bounds: ScalingBounds,
}

/// A recorded arrival trace: one line per step with the jobs in it.
const TRACE: &str = include_str!("../traces/synthetic-day.csv");

/// All patterns for `seed`.
///
/// # Errors
/// The embedded trace is malformed.
pub fn all(seed: u64) -> anyhow::Result<Vec<Pattern>> {
    let trace = trace(TRACE)?;
    let at = |rates: &[f64], step: f64, time: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
        rates.get((time / step) as usize).copied().unwrap_or(0.0)
    };
    let mut generator = Generator { seed, patterns: 0 };
    let mut patterns = vec![
        generator.pattern("noise", "6 jobs/s, Poisson arrivals, 4 h", 4.0 * HOUR, |_| 6.0),
        generator.pattern(
            "step",
            "2 jobs/s, from 30 min on 12 jobs/s, from 90 min on 2 jobs/s again",
            2.0 * HOUR,
            |t| {
                if (30.0 * MINUTE..90.0 * MINUTE).contains(&t) { 12.0 } else { 2.0 }
            },
        ),
        generator.pattern("bursts", "1 job/s, and 600 jobs within 20 s every 20 min", 3.0 * HOUR, |t| {
            if t % (20.0 * MINUTE) >= 20.0 * MINUTE - 20.0 { 30.0 } else { 1.0 }
        }),
        generator.pattern("day", "a day between 0.5 and 12 jobs/s, as a sine", 24.0 * HOUR, |t| {
            6.25 - 5.75 * (t / (24.0 * HOUR) * std::f64::consts::TAU).cos()
        }),
        generator.pattern(
            "sawtooth",
            "2 min at 10 jobs/s, 5.5 min at 0.5 jobs/s: a window of 5 min passes before the next one",
            3.0 * HOUR,
            |t| {
                if t % (7.5 * MINUTE) < 2.0 * MINUTE { 10.0 } else { 0.5 }
            },
        ),
        generator.pattern(
            "long sawtooth",
            "2 min at 10 jobs/s, 9.5 min at 0.5 jobs/s: a window of 8 min passes before the next one",
            3.0 * HOUR,
            |t| {
                if t % (11.5 * MINUTE) < 2.0 * MINUTE { 10.0 } else { 0.5 }
            },
        ),
        generator.pattern(
            "trace",
            "eight working hours from a file, synthetic: a slow morning, imports on the hour, a campaign",
            8.0 * HOUR,
            |t| at(&trace.rates, trace.step, t),
        ),
    ];
    let slow = (40.0 * MINUTE, 80.0 * MINUTE);
    let mut slower =
        generator.pattern("slow", "4 jobs/s that take twice as long from 40 to 80 min", 2.0 * HOUR, |_| 4.0);
    for job in &mut slower.jobs {
        if (milliseconds(slow.0)..milliseconds(slow.1)).contains(&job.at) {
            job.takes *= 2;
        }
    }
    patterns.push(slower);
    let outage = generator.pattern(
        "outage",
        "4 jobs/s; database and broker down from 30 to 40 min, lanes fill up",
        80.0 * MINUTE,
        |_| 4.0,
    );
    patterns.push(Pattern { outage: Some((milliseconds(30.0 * MINUTE), milliseconds(40.0 * MINUTE))), ..outage });
    patterns.push(Pattern {
        jobs: [20.0, 40.0, 62.0]
            .map(|minutes| Job { at: milliseconds(minutes * MINUTE), lane: Lane::Normal, takes: milliseconds(SERVICE) })
            .to_vec(),
        bounds: ScalingBounds::new(0, 20),
        ..generator.pattern(
            "zero",
            "a single job at 20, 40 and 62 min; the pool may scale to zero",
            80.0 * MINUTE,
            |_| 0.0,
        )
    });
    Ok(patterns)
}

/// Generates patterns, each with its own random numbers.
struct Generator {
    seed: u64,
    /// Patterns so far.
    patterns: u64,
}

impl Generator {
    /// Jobs of a Poisson process with `rate` per second (Lewis and Shedler's thinning).
    fn pattern(
        &mut self,
        name: &'static str,
        description: &'static str,
        duration: f64,
        rate: impl Fn(f64) -> f64,
    ) -> Pattern {
        self.patterns += 1;
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(self.patterns));
        let mut jobs = Vec::new();
        // Draws candidates at the highest rate and keeps each with probability rate / highest rate.
        let most = 40.0;
        let mut time = 0.0;
        loop {
            time -= (1.0 - rng.random::<f64>()).ln() / most;
            if time >= duration {
                break;
            }
            if rng.random::<f64>() * most < rate(time) {
                jobs.push(Job {
                    at: milliseconds(time),
                    lane: lane(&mut rng),
                    takes: milliseconds(service_time(&mut rng)),
                });
            }
        }
        Pattern {
            name,
            description,
            duration: milliseconds(duration),
            jobs,
            outage: None,
            bounds: ScalingBounds::new(1, 20),
        }
    }
}

fn lane(rng: &mut StdRng) -> Lane {
    let mut at = rng.random::<f64>() * 100.0;
    for (lane, part) in MIX {
        if at < part {
            return lane;
        }
        at -= part;
    }
    Lane::Low
}

/// A log-normal service time in seconds with the mean [`SERVICE`], at least 0.1 s.
fn service_time(rng: &mut StdRng) -> f64 {
    let (a, b) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    (SERVICE.ln() - SPREAD * SPREAD / 2.0 + SPREAD * normal).exp().max(0.1)
}

/// An arrival trace.
struct Trace {
    /// Seconds per step.
    step: f64,
    /// Jobs per second in each step.
    rates: Vec<f64>,
}

/// Parses lines `second,jobs` at equal steps, after `#` comments and a header.
fn trace(text: &str) -> anyhow::Result<Trace> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let (second, jobs) = line.split_once(',').with_context(|| format!("could not parse trace line '{line}'"))?;
        lines.push((second.parse::<f64>()?, jobs.parse::<f64>()?));
    }
    let [(first, _), (second, _), ..] = lines[..] else { bail!("the trace has fewer than two lines") };
    let step = second - first;
    Ok(Trace { step, rates: lines.iter().map(|(_, jobs)| jobs / step).collect() })
}
