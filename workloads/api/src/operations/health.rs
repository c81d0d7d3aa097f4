//! The health score: a number from 0 to 100, the product of parts between 0 and 1.
//! docs/monitoring.md has the formula.
//!
//! It is a product because several bad parts are worse than each of them, and because a part of 0
//! makes the score 0.

use std::time::Duration;

use switchyard_contract::{Health, HealthPart, Kind, Lanes};
use switchyard_jobs::store::PlatformSnapshot;

/// Age from which a snapshot no longer shows the current state.
const STALE: Duration = Duration::from_mins(1);
/// Jobs that wait for less than this may wait for a worker that is starting.
const WORKER_START_SECONDS: f64 = 60.0;
/// Finished analyses below which a failure ratio says nothing.
const MIN_OUTCOMES: u64 = 10;
/// Ratio of dead analyses from which the part has its lowest value.
const MAX_DEAD_RATIO: f64 = 0.15;

/// The input of the score.
pub struct HealthInput<'a> {
    /// The last snapshot.
    pub snapshot: Option<&'a PlatformSnapshot>,
    /// Its age.
    pub age: Option<Duration>,
    /// The limits of the lanes.
    pub lanes: &'a Lanes,
    /// Whether the database accepts writes.
    pub writable: bool,
    pub broker_connected: bool,
    pub cache_available: bool,
}

/// Computes the score with its parts.
pub fn score(input: &HealthInput<'_>) -> Health {
    let mut parts = vec![database(input), broker(input), cache(input)];
    if let Some(snapshot) = input.snapshot {
        parts.extend([
            workers(snapshot),
            waits(snapshot, input.lanes),
            room(snapshot, input.lanes),
            outcomes(snapshot),
        ]);
    }
    let product: f64 = parts.iter().map(|part| part.value).product();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
    let score = (product * 100.0).round() as u8;
    Health { score, parts }
}

fn part(name: &str, value: f64, detail: impl Into<String>) -> HealthPart {
    HealthPart { name: name.to_owned(), value: value.clamp(0.0, 1.0), detail: detail.into() }
}

/// A read-only database answers reads, and the API accepts no job.
fn database(input: &HealthInput<'_>) -> HealthPart {
    match input.age {
        Some(age) if age < STALE && !input.writable => part("database", 0.2, "read-only, or its disk is full"),
        Some(age) if age < STALE => part("database", 1.0, "available"),
        Some(age) => part("database", 0.0, format!("no answer for {} s", age.as_secs())),
        None => part("database", 0.0, "no answer yet"),
    }
}

/// Without the broker the API accepts and answers requests, and workers start no new job.
fn broker(input: &HealthInput<'_>) -> HealthPart {
    if input.broker_connected {
        part("broker", 1.0, "connected")
    } else {
        part("broker", 0.4, "not connected: accepted jobs wait")
    }
}

/// Without the cache nothing fails, and results come from the database.
fn cache(input: &HealthInput<'_>) -> HealthPart {
    if input.cache_available {
        part("cache", 1.0, "available")
    } else {
        part("cache", 0.9, "unavailable: results come from the database")
    }
}

/// Kinds with waiting jobs and without workers.
fn workers(snapshot: &PlatformSnapshot) -> HealthPart {
    let seen = |kind: Kind| snapshot.workers.iter().find(|w| w.kind == kind).map_or(0, |w| w.seen);
    let missing: Vec<&str> = Kind::ALL
        .iter()
        .filter(|kind| {
            let waits = |lane: &&switchyard_contract::QueueStats| {
                lane.kind == **kind && !lane.paused && lane.oldest_age_seconds > WORKER_START_SECONDS
            };
            seen(**kind) == 0 && snapshot.lanes.iter().any(|lane| waits(&lane))
        })
        .map(|kind| kind.as_str())
        .collect();
    match missing.as_slice() {
        [] => part("workers", 1.0, format!("{} alive", snapshot.workers.iter().map(|w| w.seen).sum::<u64>())),
        kinds => part("workers", 0.2, format!("jobs wait and no worker is alive for: {}", kinds.join(", "))),
    }
}

/// The longest wait in relation to the timeout of its lane: 1 up to the timeout, 0.1 from four
/// timeouts on.
fn waits(snapshot: &PlatformSnapshot, limits: &Lanes) -> HealthPart {
    let worst = snapshot.lanes.iter().filter(|lane| !lane.paused && lane.depth > 0).map(|lane| {
        let allowed = limits.get(lane.lane).timeout_seconds.max(1) as f64;
        let value = 1.0 - (lane.oldest_age_seconds - allowed) / (3.0 * allowed);
        (value.clamp(0.1, 1.0), lane)
    });
    match worst.min_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((value, lane)) if value < 1.0 => {
            let detail =
                format!("a job of {}/{} has waited for {:.0} s", lane.kind, lane.lane, lane.oldest_age_seconds);
            part("waits", value, detail)
        }
        _ => part("waits", 1.0, "within the lanes' timeouts"),
    }
}

/// The fullest lane: 1 up to four fifths of its capacity, 0.5 when it is full and refuses requests.
fn room(snapshot: &PlatformSnapshot, limits: &Lanes) -> HealthPart {
    let fullest = snapshot.lanes.iter().filter(|lane| lane.kind == Kind::General).map(|lane| {
        let capacity = f64::from(limits.get(lane.lane).capacity.max(1));
        (lane.depth as f64 / capacity, lane.lane)
    });
    match fullest.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((filled, lane)) if filled > 0.8 => {
            let detail = format!("the {lane} lane is {:.0} % full", filled * 100.0);
            part("room", 1.0 - (filled.min(1.0) - 0.8) * 2.5, detail)
        }
        _ => part("room", 1.0, "every lane below 80 %"),
    }
}

/// Dead analyses among those that finished within five minutes.
fn outcomes(snapshot: &PlatformSnapshot) -> HealthPart {
    let (dead, ended) = (snapshot.outcomes.dead, snapshot.outcomes.dead + snapshot.outcomes.completed);
    let detail = format!("{dead} of {ended} analyses failed for good within five minutes");
    if ended < MIN_OUTCOMES {
        return part("outcomes", 1.0, detail);
    }
    let ratio = dead as f64 / ended as f64;
    part("outcomes", (1.0 - ratio / MAX_DEAD_RATIO).max(0.1), detail)
}

#[cfg(test)]
mod tests {
    use switchyard_contract::{Lane, QueueStats};
    use switchyard_jobs::store::{Outcomes, Sessions, WorkersSeen};

    use super::*;

    fn snapshot() -> PlatformSnapshot {
        PlatformSnapshot {
            lanes: Kind::ALL
                .iter()
                .flat_map(|kind| Lane::ALL.iter().map(|lane| QueueStats::quiet(*kind, *lane)))
                .collect(),
            fairness: Vec::new(),
            dead: 0,
            workers: Kind::ALL.iter().map(|kind| WorkersSeen { kind: *kind, seen: 1 }).collect(),
            outcomes: Outcomes::default(),
            sessions: Sessions { max: 500, in_use: 0, rows: Vec::new() },
            recoveries: Vec::new(),
        }
    }

    fn score(snapshot: Option<&PlatformSnapshot>, change: impl Fn(&mut HealthInput<'_>)) -> u8 {
        let lanes = Lanes::default();
        let age = snapshot.map(|_| Duration::ZERO);
        let mut input =
            HealthInput { snapshot, age, lanes: &lanes, writable: true, broker_connected: true, cache_available: true };
        change(&mut input);
        super::score(&input).score
    }

    fn changed(change: impl Fn(&mut PlatformSnapshot)) -> u8 {
        let mut snapshot = snapshot();
        change(&mut snapshot);
        score(Some(&snapshot), |_| ())
    }

    #[test]
    fn score_is_100_in_good_order_and_each_part_lowers_it() {
        assert_eq!(changed(|_| ()), 100);
        assert_eq!(score(Some(&snapshot()), |input| input.cache_available = false), 90);
        assert_eq!(score(Some(&snapshot()), |input| input.broker_connected = false), 40);
        assert_eq!(score(Some(&snapshot()), |input| input.writable = false), 20);
        assert_eq!(score(Some(&snapshot()), |input| input.age = Some(STALE)), 0);
        assert_eq!(score(None, |_| ()), 0);
        // The normal lane gives an attempt five minutes.
        let normal = |snapshot: &mut PlatformSnapshot, age: f64| {
            let lane = snapshot.lanes.iter_mut().find(|l| l.kind == Kind::Ai && l.lane == Lane::Normal).unwrap();
            (lane.depth, lane.oldest_age_seconds) = (1, age);
        };
        assert_eq!(changed(|snapshot| normal(snapshot, 300.0)), 100);
        assert_eq!(changed(|snapshot| normal(snapshot, 750.0)), 50);
        assert_eq!(changed(|snapshot| normal(snapshot, 1e6)), 10);
        assert_eq!(
            changed(|snapshot| {
                normal(snapshot, 90.0);
                snapshot.workers.retain(|w| w.kind != Kind::Ai);
            }),
            20
        );
        // 500 analyses fit into the normal lane.
        let full = |depth| {
            changed(|snapshot| {
                snapshot.lanes.iter_mut().find(|l| l.kind == Kind::General && l.lane == Lane::Normal).unwrap().depth =
                    depth;
            })
        };
        assert_eq!((full(400), full(450), full(500), full(900)), (100, 75, 50, 50));
        let died = |dead, completed| changed(|snapshot| snapshot.outcomes = Outcomes { dead, completed });
        assert_eq!((died(5, 0), died(0, 100), died(3, 37), died(20, 20)), (100, 100, 50, 10));
    }

    #[test]
    fn paused_lanes_do_not_lower_the_score() {
        let paused = |snapshot: &mut PlatformSnapshot| {
            for lane in &mut snapshot.lanes {
                (lane.paused, lane.depth, lane.oldest_age_seconds) = (true, 1, 1e6);
            }
            snapshot.workers.clear();
        };
        assert_eq!(changed(paused), 100);
    }

    #[test]
    fn bad_parts_multiply() {
        let both = score(Some(&snapshot()), |input| {
            input.cache_available = false;
            input.broker_connected = false;
        });
        assert_eq!(both, 36);
    }
}
