//! The script: what each job does, as a pure function of its username or its input. So every
//! attempt in every process agrees.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use switchyard_contract::Kind;

/// Prefix of the usernames that many callers request.
pub const POPULAR: &str = "popular";

/// What an attempt does after its work.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Completes.
    Complete,
    /// Completes and reports discovered profiles.
    Discover(Vec<String>),
    /// Spawns children, and completes when they have ended.
    Spawn(Vec<Part>),
    /// Fails with a transient error, which is retried.
    FailTransiently,
    /// Fails with a permanent error.
    FailPermanently,
    /// Runs past the lane's timeout.
    Overrun,
    /// Panics.
    Panic,
}

/// A child job.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub kind: Kind,
    /// Decides what it does.
    pub name: String,
    pub required: bool,
}

impl Part {
    /// Input of the child.
    pub fn input(&self) -> Value {
        json!({ "name": self.name })
    }

    /// The name in a child's input.
    pub fn name_in(input: &Value) -> Option<&str> {
        input.get("name")?.as_str()
    }
}

/// Pseudo-random numbers derived from a name.
struct NameHash([u8; 32]);

impl NameHash {
    fn of(name: &str) -> Self {
        Self(Sha256::digest(name).into())
    }

    /// The `n`th number, below `bound`.
    fn number(&self, n: usize, bound: u8) -> u8 {
        self.0[n] % bound
    }
}

/// How long an attempt works before its action.
pub fn work(name: &str, attempt: i32) -> Duration {
    let hash = NameHash::of(&format!("{name} {attempt}"));
    // Popular profiles take longer, so that other callers request them at the same time.
    let popular = if name.starts_with(POPULAR) { 400 } else { 0 };
    Duration::from_millis(popular + 10 + u64::from(hash.number(0, 120)))
}

/// What an attempt of an analysis does.
pub fn analysis(username: &str, attempt: i32, depth: i64) -> Action {
    let hash = NameHash::of(username);
    match hash.number(0, 100) {
        0..35 => Action::Complete,
        35..65 => Action::Spawn(parts(username, &hash)),
        65..75 if depth == 0 => Action::Discover((0..2).map(|n| format!("{username}.{n}")).collect()),
        75..83 if attempt <= i32::from(1 + hash.number(1, 2)) => Action::FailTransiently,
        83..88 => Action::FailTransiently,
        88..93 => Action::FailPermanently,
        93..96 if attempt == 1 => Action::Overrun,
        96..98 if attempt == 1 => Action::Panic,
        _ => Action::Complete,
    }
}

/// What an attempt of a child does.
pub fn part(name: &str, attempt: i32) -> Action {
    let hash = NameHash::of(name);
    match hash.number(0, 100) {
        0..12 if attempt == 1 => Action::FailTransiently,
        12..16 => Action::FailTransiently,
        16..20 => Action::FailPermanently,
        20..23 if attempt == 1 => Action::Overrun,
        // Children of children, but no deeper.
        23..33 if !name.contains('/') => Action::Spawn(parts(&format!("{name}/"), &hash)),
        _ => Action::Complete,
    }
}

fn parts(name: &str, hash: &NameHash) -> Vec<Part> {
    let kinds = [Kind::Cdn, Kind::Ai, Kind::Discovery, Kind::Ai];
    let count = usize::from(hash.number(2, 4));
    (0..count)
        .map(|n| Part {
            kind: kinds[usize::from(hash.number(3 + n, 4))],
            name: format!("{name}#{n}"),
            required: hash.number(8 + n, 3) != 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousand_profiles_cover_every_action() {
        let acts: Vec<Action> = (0..1000).map(|n| analysis(&format!("profile-{n}"), 1, 0)).collect();
        let some = |predicate: fn(&Action) -> bool| acts.iter().any(predicate);
        assert!(some(|act| *act == Action::Complete));
        assert!(some(|act| *act == Action::FailTransiently));
        assert!(some(|act| *act == Action::FailPermanently));
        assert!(some(|act| *act == Action::Overrun));
        assert!(some(|act| *act == Action::Panic));
        assert!(some(|act| matches!(act, Action::Discover(_))));
        let parts: Vec<&Part> = acts
            .iter()
            .filter_map(|act| if let Action::Spawn(parts) = act { Some(parts) } else { None })
            .flatten()
            .collect();
        assert!(some(|act| matches!(act, Action::Spawn(parts) if parts.is_empty())));
        assert!(parts.iter().any(|part| part.required) && parts.iter().any(|part| !part.required));
        let deeper =
            parts.iter().filter_map(|p| if let Action::Spawn(parts) = part(&p.name, 1) { Some(parts) } else { None });
        let deepest: Vec<Part> = deeper.flatten().collect();
        assert!(!deepest.is_empty());
        assert!(
            deepest.iter().all(|p| !matches!(part(&p.name, 1), Action::Spawn(_))),
            "children nest deeper than two levels"
        );
    }

    #[test]
    fn some_failing_jobs_recover_and_some_do_not() {
        let stumbles = |name: &String| analysis(name, 1, 0) == Action::FailTransiently;
        let names: Vec<String> = (0..1000).map(|n| format!("profile-{n}")).filter(stumbles).collect();
        assert!(names.iter().any(|name| analysis(name, 3, 0) == Action::Complete));
        assert!(names.iter().any(|name| analysis(name, 3, 0) == Action::FailTransiently));
    }

    #[test]
    fn discovered_profiles_discover_nothing() {
        assert!((0..1000).all(|n| !matches!(analysis(&format!("profile-{n}"), 1, 1), Action::Discover(_))));
    }
}
