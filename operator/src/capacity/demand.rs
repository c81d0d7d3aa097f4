//! What one queue asks for, in slots.

use std::fmt;

use switchyard_contract::{Kind, Lane, LaneLimits, QueueStats};

/// Use of its slots that steady load may come to at most. Rates and service times are estimates; what is above them queues without bound.
pub const UTILISATION: f64 = 0.85;
/// Of jobs that come at random, the part that may wait for longer than the target: ln(1/0.05).
const LATE: f64 = 2.995_732;
/// Square-root staffing for as small a part of jobs to wait at all.
const STAFFING: f64 = 1.75;
/// How far the last minute's arrivals must be from the last five minutes' to count for more, in standard deviations of a Poisson count.
const DOUBT: f64 = 2.0;
/// Seconds that a wish takes to become a pod at work: a round of the autoscaler, and the start. They come out of the target, up to half of it.
const AHEAD: f64 = 40.0;
const MINUTE: f64 = 60.0;
/// Nothing holds a slot for longer than a day, arrives more than a million times a second, or waits in more than a thousand million.
const LONGEST: f64 = 86_400.0;
/// Nor does anything hold one for less than a millisecond.
const SHORTEST: f64 = 0.001;
/// Less of a slot than a single job ever asks for.
const NOTHING: f64 = 1e-9;
const FASTEST: f64 = 1e6;
const MOST: f64 = 1e9;

/// How much of a slot a pool gives to a job that waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// As much as starts it within these seconds, less the time that a pod takes to be there.
    Wait(f64),
    /// One slot for as many jobs as this.
    Backlog(f64),
}

impl Target {
    /// Slots for each waiting job, before it is said that none needs more than one. `service` is None where it is not known: then each job gets a
    /// slot, since nothing says when one would be free again.
    fn slots_per_job(self, service: Option<f64>) -> f64 {
        match self {
            Self::Wait(seconds) => {
                service.map_or(1.0, |service| service / (seconds - AHEAD).max(seconds / 2.0).clamp(0.5, LONGEST))
            }
            Self::Backlog(jobs) => 1.0 / if jobs.is_finite() { jobs.clamp(SHORTEST, MOST / 1000.0) } else { 1.0 },
        }
    }
}

/// What kept an ask from being what load, headroom and backlog add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Nothing.
    None,
    /// More long jobs run than that.
    Running,
    /// There are no more jobs here, nor will there be within a minute.
    Jobs,
    /// The lane's limit on analyses at once.
    Limit,
    /// The lane is paused: only what runs counts.
    Paused,
}

/// What one queue asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    pub lane: Lane,
    /// Slots in all, 0 or more.
    pub slots: f64,
    /// Jobs per second that come.
    pub arrivals: f64,
    /// Seconds that each holds a slot; none where it is not known.
    pub service: Option<f64>,
    /// Slots that steady load keeps busy: arrivals x service.
    pub load: f64,
    /// Slots on top of them, so that chance keeps few waiting.
    pub headroom: f64,
    /// Jobs that wait, or will within a minute.
    pub backlog: f64,
    /// Slots that start the backlog within the target; what counts is the larger of headroom and this.
    pub drain: f64,
    pub running: f64,
    pub bound: Bound,
}

impl Ask {
    /// What the queue of `facts` asks for under the strictest of `targets`. `limits` are those of its lane, which bind analyses alone.
    ///
    /// Any facts make a finite ask of 0 or more, which never shrinks when depth or arrivals grow.
    pub fn of(facts: &QueueStats, targets: &[Target], limits: &LaneLimits) -> Self {
        let running = count(facts.running);
        let service = service(facts);
        let arrivals = arrivals(facts);
        let load = service.map_or(0.0, |service| arrivals * service);
        let per_job = targets.iter().map(|target| target.slots_per_job(service)).fold(0.0, f64::max);
        // So much that one job in twenty is late at most, by the bound on the wait where there are many servers, P(wait > t) <= exp(-(slots - load) t / service),
        // or by the square root of the load, whichever is less.
        let chance = (LATE * per_job).min(STAFFING * load.sqrt());
        let headroom = if load > 0.0 { (load / UTILISATION - load).max(chance) } else { 0.0 };
        let backlog = count(facts.depth) + count(facts.due_soon);
        let part = per_job.min(1.0);
        let drain = backlog * part;
        // What is free for chance also takes what waits.
        let sum = load + headroom.max(drain);
        // A job that runs for longer than the target is not to lose its slot because the rates have forgotten it; a short one is over before anything is scaled in.
        let held = running * part;

        let jobs = running + backlog + arrivals * MINUTE;
        let limit = if facts.kind == Kind::General { f64::from(limits.max_running) } else { f64::INFINITY };
        let (slots, bound) = if facts.paused {
            (running, Bound::Paused)
        } else {
            let (slots, bound) = if held > sum { (held, Bound::Running) } else { (sum, Bound::None) };
            let (slots, bound) = if slots > jobs { (jobs, Bound::Jobs) } else { (slots, bound) };
            if slots > limit { (limit, Bound::Limit) } else { (slots, bound) }
        };
        let slots = if slots < NOTHING { 0.0 } else { slots };
        Self { lane: facts.lane, slots, arrivals, service, load, headroom, backlog, drain, running, bound }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks for {:.1} slots", self.lane, self.slots)?;
        match self.bound {
            Bound::Paused => return write!(f, ", those of the jobs that run: it is paused"),
            Bound::Running => write!(f, " for the {:.0} jobs that run, which is more than", self.running)?,
            Bound::Jobs => write!(f, ", as many as there are jobs here or within a minute, which is less than")?,
            Bound::Limit => write!(f, ", its limit of analyses at once, which is less than")?,
            Bound::None => write!(f, ":")?,
        }
        match self.service {
            Some(service) => write!(f, " {:.1} busy ({:.2} jobs/s x {service:.1} s)", self.load, self.arrivals)?,
            None => write!(f, " an unknown load ({:.2} jobs/s, no service time yet)", self.arrivals)?,
        }
        if self.drain > self.headroom {
            write!(f, " + {:.1} for the {:.0} that wait", self.drain, self.backlog)
        } else {
            write!(f, " + {:.1} headroom", self.headroom)
        }
    }
}

/// A number of jobs, whatever it was that came.
#[expect(clippy::cast_precision_loss, reason = "bounded far below 2^53")]
fn count(jobs: i64) -> f64 {
    (jobs.max(0) as f64).min(MOST)
}

/// A finite number from 0 to `most`; 0 for what is none.
fn bounded(number: f64, most: f64) -> f64 {
    if number.is_nan() { 0.0 } else { number.clamp(0.0, most) }
}

/// Seconds that a job holds a slot: as measured, else by Little's law from the jobs that run and those that end, else unknown.
fn service(facts: &QueueStats) -> Option<f64> {
    let known = |seconds: f64| (seconds.is_finite() && seconds > 0.0).then(|| seconds.clamp(SHORTEST, LONGEST));
    let (running, ended) = (count(facts.running), bounded(facts.completion_rate, FASTEST));
    facts.service_seconds.and_then(known).or_else(|| known(running / ended))
}

/// Jobs per second that come: of the last five minutes, unless the last minute contradicts them by more than chance does.
fn arrivals(facts: &QueueStats) -> f64 {
    let lasting = bounded(facts.arrival_rate, FASTEST);
    match facts.recent_arrival_rate.filter(|rate| rate.is_finite()) {
        None => lasting,
        Some(recent) => {
            let jobs = bounded(recent, FASTEST) * MINUTE;
            let doubt = DOUBT * (jobs + 1.0).sqrt();
            lasting.clamp((jobs - doubt).max(0.0) / MINUTE, (jobs + doubt) / MINUTE)
        }
    }
}
