//! The demand of one queue, in slots. Pure.
//!
//! The formulas and their sources are in the documentation of [`crate::capacity`].

use std::fmt;

use switchyard_contract::{Kind, Lane, LaneLimits, QueueStats};

/// Maximum utilization of the slots under steady load. Rates and service times are estimates; a
/// utilization of 1 or more makes the queue grow without bound.
pub const UTILISATION: f64 = 0.85;
/// One job in twenty may wait longer than the target: ln(1 / 0.05).
const WAIT_QUANTILE: f64 = 2.995_732;
/// Factor of square-root staffing at which about one job in twenty waits at all (Halfin and Whitt).
const STAFFING: f64 = 1.75;
/// Deviation of the last minute's arrivals from the five-minute rate that is taken for noise, in
/// standard deviations of a Poisson count.
const NOISE: f64 = 2.0;
/// Seconds from a higher demand to a working pod: one sync period of the autoscaler and the start
/// of the pod. They are subtracted from the target wait, up to half of it.
const START_SECONDS: f64 = 40.0;
const MINUTE: f64 = 60.0;
/// Upper bound of a service time and of a target wait: one day, in seconds.
const MAX_SECONDS: f64 = 86_400.0;
/// Lower bound of a service time, in seconds.
const MIN_SECONDS: f64 = 0.001;
/// Demand below this is 0; a single job needs more.
const NEGLIGIBLE: f64 = 1e-9;
/// Upper bound of a rate, in jobs per second.
const MAX_RATE: f64 = 1e6;
/// Upper bound of a number of jobs.
const MAX_JOBS: f64 = 1e9;

/// The target of a scaled pool for waiting jobs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// A waiting job starts within these seconds.
    Wait(f64),
    /// So many jobs wait for each slot.
    Backlog(f64),
}

impl Target {
    /// Slots for each waiting job; the caller limits them to one. Without a known `service` time
    /// each job needs a slot of its own, since it is unknown when another one becomes free.
    fn slots_per_job(self, service: Option<f64>) -> f64 {
        match self {
            Self::Wait(seconds) => service
                .map_or(1.0, |service| service / (seconds - START_SECONDS).max(seconds / 2.0).clamp(0.5, MAX_SECONDS)),
            Self::Backlog(jobs) => {
                1.0 / if jobs.is_finite() { jobs.clamp(MIN_SECONDS, MAX_JOBS / 1000.0) } else { 1.0 }
            }
        }
    }
}

/// Why the demand differs from the sum of load, headroom and backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It does not differ.
    None,
    /// More long jobs are running.
    Running,
    /// Fewer jobs exist or are expected within a minute.
    Jobs,
    /// The lane allows fewer running analyses.
    Limit,
    /// The lane is paused: only running jobs count.
    Paused,
}

/// The demand of one queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    pub lane: Lane,
    /// Total demand in slots, 0 or more.
    pub slots: f64,
    /// Arriving jobs per second.
    pub arrivals: f64,
    /// Seconds that a job holds a slot, if known.
    pub service: Option<f64>,
    /// Slots that steady load keeps busy: arrivals x service time.
    pub load: f64,
    /// Additional slots that absorb random fluctuations of the arrivals.
    pub headroom: f64,
    /// Jobs that wait, or become due within a minute.
    pub backlog: f64,
    /// Slots that start the backlog within the target. The larger of this and `headroom` counts.
    pub drain: f64,
    /// Running jobs.
    pub running: f64,
    pub bound: Bound,
}

impl Demand {
    /// Computes the demand of a queue under the strictest of `targets`. `limits` are those of its
    /// lane; they apply to analyses only.
    ///
    /// The demand is finite and 0 or more for any statistics, and never decreases when the depth or
    /// the arrivals increase.
    pub fn of(stats: &QueueStats, targets: &[Target], limits: &LaneLimits) -> Self {
        let running = count(stats.running);
        let service = service(stats);
        let arrivals = arrivals(stats);
        let load = service.map_or(0.0, |service| arrivals * service);
        let per_job = targets.iter().map(|target| target.slots_per_job(service)).fold(0.0, f64::max);
        // At most one job in twenty is late: by the bound on the wait of many servers,
        // P(wait > t) <= exp(-(slots - load) t / service), or by square-root staffing, whichever
        // needs fewer slots.
        let chance = (WAIT_QUANTILE * per_job).min(STAFFING * load.sqrt());
        let headroom = if load > 0.0 { (load / UTILISATION - load).max(chance) } else { 0.0 };
        let backlog = count(stats.depth) + count(stats.due_soon);
        let part = per_job.min(1.0);
        let drain = backlog * part;
        // The headroom also starts waiting jobs, so only the larger of both counts.
        let sum = load + headroom.max(drain);
        // A job that runs longer than the window of the rates must keep its slot. A short one ends
        // before the pool scales in.
        let held = running * part;

        let jobs = running + backlog + arrivals * MINUTE;
        let limit = if stats.kind == Kind::General { f64::from(limits.max_running) } else { f64::INFINITY };
        let (slots, bound) = if stats.paused {
            (running, Bound::Paused)
        } else {
            let (slots, bound) = if held > sum { (held, Bound::Running) } else { (sum, Bound::None) };
            let (slots, bound) = if slots > jobs { (jobs, Bound::Jobs) } else { (slots, bound) };
            if slots > limit { (limit, Bound::Limit) } else { (slots, bound) }
        };
        let slots = if slots < NEGLIGIBLE { 0.0 } else { slots };
        Self { lane: stats.lane, slots, arrivals, service, load, headroom, backlog, drain, running, bound }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {:.1} slots", self.lane, self.slots)?;
        match self.bound {
            Bound::Paused => return write!(f, " for its running jobs: it is paused"),
            Bound::Running => write!(f, " for its {:.0} running jobs, which is more than", self.running)?,
            Bound::Jobs => {
                write!(f, ", one for each job that exists or is expected within a minute, which is less than")?;
            }
            Bound::Limit => write!(f, ", its limit of running analyses, which is less than")?,
            Bound::None => write!(f, ":")?,
        }
        match self.service {
            Some(service) => write!(f, " {:.1} busy ({:.2} jobs/s x {service:.1} s)", self.load, self.arrivals)?,
            None => write!(f, " an unknown load ({:.2} jobs/s, no service time yet)", self.arrivals)?,
        }
        if self.drain > self.headroom {
            write!(f, " + {:.1} for {:.0} waiting jobs", self.drain, self.backlog)
        } else {
            write!(f, " + {:.1} headroom", self.headroom)
        }
    }
}

/// A number of jobs as a bounded fraction; 0 if negative.
fn count(jobs: i64) -> f64 {
    (jobs.max(0) as f64).min(MAX_JOBS)
}

/// Clamps `number` between 0 and `most`; NaN becomes 0.
fn bounded(number: f64, most: f64) -> f64 {
    if number.is_nan() { 0.0 } else { number.clamp(0.0, most) }
}

/// Seconds that a job holds a slot: the measured time, or else running jobs / completion rate by
/// Little's law, or else unknown.
fn service(stats: &QueueStats) -> Option<f64> {
    let known = |seconds: f64| (seconds.is_finite() && seconds > 0.0).then(|| seconds.clamp(MIN_SECONDS, MAX_SECONDS));
    let (running, ended) = (count(stats.running), bounded(stats.completion_rate, MAX_RATE));
    stats.service_seconds.and_then(known).or_else(|| known(running / ended))
}

/// Arriving jobs per second: the rate of the last five minutes, moved as far towards that of the
/// last minute as noise does not explain the difference.
fn arrivals(stats: &QueueStats) -> f64 {
    let lasting = bounded(stats.arrival_rate, MAX_RATE);
    match stats.recent_arrival_rate.filter(|rate| rate.is_finite()) {
        None => lasting,
        Some(recent) => {
            let jobs = bounded(recent, MAX_RATE) * MINUTE;
            let noise = NOISE * (jobs + 1.0).sqrt();
            lasting.clamp((jobs - noise).max(0.0) / MINUTE, (jobs + noise) / MINUTE)
        }
    }
}
