//! The health score: one number from 0 to 100 that is the product of a few parts, each 1 in good order. The formula is in docs/monitoring.md.
//!
//! A product, because parts that are bad together are worse than each of them alone, and because a part that is 0 leaves nothing.

use std::time::Duration;

use switchyard_contract::{Health, HealthPart, Kind, Lanes};
use switchyard_jobs::store::Facts;

/// What is known from the database is not the state of things any more after this.
const STALE: Duration = Duration::from_secs(60);
/// Jobs that wait for less than this may be waiting for a worker that is on its way.
const ARRIVING_SECONDS: f64 = 60.0;
/// Endings that say something.
const MEANINGFUL: u64 = 10;
/// Deaths among endings that leave nothing of that part.
const ALL_BAD: f64 = 0.15;

/// What a score is made of.
pub struct Surroundings<'a> {
    /// What the database said last, and how long ago.
    pub facts: Option<&'a Facts>,
    pub age: Option<Duration>,
    pub lanes: &'a Lanes,
    /// Whether the database has not failed to write lately.
    pub writable: bool,
    pub broker_connected: bool,
    pub cache_away: bool,
}

/// The score with its parts.
pub fn of(around: &Surroundings<'_>) -> Health {
    let mut parts = vec![database(around), broker(around), cache(around)];
    if let Some(facts) = around.facts {
        parts.extend([workers(facts), waits(facts, around.lanes), room(facts, around.lanes), outcomes(facts)]);
    }
    let product: f64 = parts.iter().map(|part| part.value).product();
    // Of a number between 0 and 100.
    Health { score: (product * 100.0).round() as u8, parts }
}

fn part(name: &str, value: f64, detail: impl Into<String>) -> HealthPart {
    HealthPart { name: name.to_owned(), value: value.clamp(0.0, 1.0), detail: detail.into() }
}

/// A database that cannot write answers what it has, and takes nothing.
fn database(around: &Surroundings<'_>) -> HealthPart {
    match around.age {
        Some(age) if age < STALE && !around.writable => {
            part("database", 0.2, "cannot write: its disk is full, or it is read-only")
        }
        Some(age) if age < STALE => part("database", 1.0, "answers"),
        Some(age) => part("database", 0.0, format!("has not answered for {} s", age.as_secs())),
        None => part("database", 0.0, "has not answered yet"),
    }
}

/// Without it requests are accepted and answered all the same, and nothing new is worked on.
fn broker(around: &Surroundings<'_>) -> HealthPart {
    match around.broker_connected {
        true => part("broker", 1.0, "connected"),
        false => part("broker", 0.4, "not connected: accepted jobs wait"),
    }
}

/// Without it nothing fails; answers cost more.
fn cache(around: &Surroundings<'_>) -> HealthPart {
    match around.cache_away {
        false => part("cache", 1.0, "answers"),
        true => part("cache", 0.9, "away: results come from the database"),
    }
}

/// Kinds whose jobs nobody takes.
fn workers(facts: &Facts) -> HealthPart {
    let seen = |kind: Kind| facts.workers.iter().find(|w| w.kind == kind).map_or(0, |w| w.seen);
    let missing: Vec<&str> = Kind::ALL
        .iter()
        .filter(|kind| {
            let waits = |lane: &&switchyard_contract::QueueStats| {
                lane.kind == **kind && !lane.paused && lane.oldest_age_seconds > ARRIVING_SECONDS
            };
            seen(**kind) == 0 && facts.lanes.iter().any(|lane| waits(&lane))
        })
        .map(|kind| kind.as_str())
        .collect();
    match missing.as_slice() {
        [] => part("workers", 1.0, format!("{} seen", facts.workers.iter().map(|w| w.seen).sum::<u64>())),
        kinds => part("workers", 0.2, format!("jobs wait and no worker is seen for: {}", kinds.join(", "))),
    }
}

/// The longest wait beside what its lane gives one attempt: whole up to once that, nothing from four times on.
fn waits(facts: &Facts, limits: &Lanes) -> HealthPart {
    let worst = facts.lanes.iter().filter(|lane| !lane.paused && lane.depth > 0).map(|lane| {
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
        _ => part("waits", 1.0, "within what the lanes allow"),
    }
}

/// The fullest lane: whole up to four fifths, half when it is full and callers are refused.
fn room(facts: &Facts, limits: &Lanes) -> HealthPart {
    let fullest = facts.lanes.iter().filter(|lane| lane.kind == Kind::General).map(|lane| {
        let capacity = f64::from(limits.get(lane.lane).capacity.max(1));
        (lane.depth as f64 / capacity, lane.lane)
    });
    match fullest.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((filled, lane)) if filled > 0.8 => {
            let detail = format!("the {lane} lane is {:.0} % full", filled * 100.0);
            part("room", 1.0 - (filled.min(1.0) - 0.8) * 2.5, detail)
        }
        _ => part("room", 1.0, "in every lane"),
    }
}

/// Deaths among what ended lately.
fn outcomes(facts: &Facts) -> HealthPart {
    let (dead, ended) = (facts.outcomes.dead, facts.outcomes.dead + facts.outcomes.completed);
    let detail = format!("{dead} of {ended} analyses died within five minutes");
    if ended < MEANINGFUL {
        return part("outcomes", 1.0, detail);
    }
    let ratio = dead as f64 / ended as f64;
    part("outcomes", (1.0 - ratio / ALL_BAD).max(0.1), detail)
}

#[cfg(test)]
mod tests {
    use switchyard_contract::{Lane, QueueStats};
    use switchyard_jobs::store::{Outcomes, Sessions, WorkersSeen};

    use super::*;

    fn facts() -> Facts {
        Facts {
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

    fn score(facts: Option<&Facts>, change: impl Fn(&mut Surroundings<'_>)) -> u8 {
        let lanes = Lanes::default();
        let age = facts.map(|_| Duration::ZERO);
        let mut around =
            Surroundings { facts, age, lanes: &lanes, writable: true, broker_connected: true, cache_away: false };
        change(&mut around);
        of(&around).score
    }

    fn changed(change: impl Fn(&mut Facts)) -> u8 {
        let mut facts = facts();
        change(&mut facts);
        score(Some(&facts), |_| ())
    }

    #[test]
    fn what_is_in_order_is_a_hundred_and_each_trouble_costs() {
        assert_eq!(changed(|_| ()), 100);
        assert_eq!(score(Some(&facts()), |around| around.cache_away = true), 90);
        assert_eq!(score(Some(&facts()), |around| around.broker_connected = false), 40);
        assert_eq!(score(Some(&facts()), |around| around.writable = false), 20);
        assert_eq!(score(Some(&facts()), |around| around.age = Some(STALE)), 0);
        assert_eq!(score(None, |_| ()), 0);
        // The normal lane gives an attempt five minutes.
        let normal = |facts: &mut Facts, age: f64| {
            let lane = facts.lanes.iter_mut().find(|l| l.kind == Kind::Ai && l.lane == Lane::Normal).unwrap();
            (lane.depth, lane.oldest_age_seconds) = (1, age);
        };
        assert_eq!(changed(|facts| normal(facts, 300.0)), 100);
        assert_eq!(changed(|facts| normal(facts, 750.0)), 50);
        assert_eq!(changed(|facts| normal(facts, 1e6)), 10);
        assert_eq!(
            changed(|facts| {
                normal(facts, 90.0);
                facts.workers.retain(|w| w.kind != Kind::Ai);
            }),
            20
        );
        // 500 analyses fit into the normal lane.
        let full = |depth| {
            changed(|facts| {
                facts.lanes.iter_mut().find(|l| l.kind == Kind::General && l.lane == Lane::Normal).unwrap().depth =
                    depth;
            })
        };
        assert_eq!((full(400), full(450), full(500), full(900)), (100, 75, 50, 50));
        let died = |dead, completed| changed(|facts| facts.outcomes = Outcomes { dead, completed });
        assert_eq!((died(5, 0), died(0, 100), died(3, 37), died(20, 20)), (100, 100, 50, 10));
    }

    #[test]
    fn what_is_paused_waits_as_it_was_told_to() {
        let paused = |facts: &mut Facts| {
            for lane in &mut facts.lanes {
                (lane.paused, lane.depth, lane.oldest_age_seconds) = (true, 1, 1e6);
            }
            facts.workers.clear();
        };
        assert_eq!(changed(paused), 100);
    }

    #[test]
    fn parts_that_are_bad_together_are_worse_than_each() {
        let both = score(Some(&facts()), |around| {
            around.cache_away = true;
            around.broker_connected = false;
        });
        assert_eq!(both, 36);
    }
}
