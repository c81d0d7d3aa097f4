//! What each job does, told by the name of its profile or by its input, so that every attempt in every process knows it.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use switchyard_contract::Kind;

/// What the names of profiles begin with that many ask for.
pub const POPULAR: &str = "popular";

/// What one attempt does after its work.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Complete,
    /// Completes and names profiles that it came across.
    Discover(Vec<String>),
    /// Waits for parts; completes when they have ended.
    Spawn(Vec<Part>),
    /// Fails in a way that another attempt may mend.
    Stumble,
    /// Fails in a way that none mends.
    Refuse,
    /// Goes on for longer than any lane allows.
    Overrun,
    /// Has a bug.
    Panic,
}

/// A part that a job is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub kind: Kind,
    /// Names what it does.
    pub name: String,
    pub required: bool,
}

impl Part {
    /// What the part is made with.
    pub fn input(&self) -> Value {
        json!({ "name": self.name })
    }

    /// The name in a part's input.
    pub fn name_in(input: &Value) -> Option<&str> {
        input.get("name")?.as_str()
    }
}

/// Numbers that depend on a name and nothing else.
struct Dice([u8; 32]);

impl Dice {
    fn of(name: &str) -> Self {
        Self(Sha256::digest(name).into())
    }

    /// The `n`th throw, below `sides`.
    fn throw(&self, n: usize, sides: u8) -> u8 {
        self.0[n] % sides
    }
}

/// How long an attempt works before its act.
pub fn work(name: &str, attempt: i32) -> Duration {
    let dice = Dice::of(&format!("{name} {attempt}"));
    // Popular profiles take longer, so that others ask for them meanwhile.
    let popular = if name.starts_with(POPULAR) { 400 } else { 0 };
    Duration::from_millis(popular + 10 + u64::from(dice.throw(0, 120)))
}

/// What an analysis' attempt does.
pub fn analysis(username: &str, attempt: i32, depth: i64) -> Act {
    let dice = Dice::of(username);
    match dice.throw(0, 100) {
        0..35 => Act::Complete,
        35..65 => Act::Spawn(parts(username, &dice)),
        65..75 if depth == 0 => Act::Discover((0..2).map(|n| format!("{username}.{n}")).collect()),
        75..83 if attempt <= i32::from(1 + dice.throw(1, 2)) => Act::Stumble,
        83..88 => Act::Stumble,
        88..93 => Act::Refuse,
        93..96 if attempt == 1 => Act::Overrun,
        96..98 if attempt == 1 => Act::Panic,
        _ => Act::Complete,
    }
}

/// What a part's attempt does.
pub fn part(name: &str, attempt: i32) -> Act {
    let dice = Dice::of(name);
    match dice.throw(0, 100) {
        0..12 if attempt == 1 => Act::Stumble,
        12..16 => Act::Stumble,
        16..20 => Act::Refuse,
        20..23 if attempt == 1 => Act::Overrun,
        // Parts of parts, but no deeper.
        23..33 if !name.contains('/') => Act::Spawn(parts(&format!("{name}/"), &dice)),
        _ => Act::Complete,
    }
}

fn parts(name: &str, dice: &Dice) -> Vec<Part> {
    let kinds = [Kind::Cdn, Kind::Ai, Kind::Discovery, Kind::Ai];
    let count = usize::from(dice.throw(2, 4));
    (0..count)
        .map(|n| Part {
            kind: kinds[usize::from(dice.throw(3 + n, 4))],
            name: format!("{name}#{n}"),
            required: dice.throw(8 + n, 3) != 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_profiles_do_everything_that_there_is_to_do() {
        let acts: Vec<Act> = (0..1000).map(|n| analysis(&format!("profile-{n}"), 1, 0)).collect();
        let some = |wanted: fn(&Act) -> bool| acts.iter().any(wanted);
        assert!(some(|act| *act == Act::Complete));
        assert!(some(|act| *act == Act::Stumble));
        assert!(some(|act| *act == Act::Refuse));
        assert!(some(|act| *act == Act::Overrun));
        assert!(some(|act| *act == Act::Panic));
        assert!(some(|act| matches!(act, Act::Discover(_))));
        let parts: Vec<&Part> = acts
            .iter()
            .filter_map(|act| if let Act::Spawn(parts) = act { Some(parts) } else { None })
            .flatten()
            .collect();
        assert!(some(|act| matches!(act, Act::Spawn(parts) if parts.is_empty())));
        assert!(parts.iter().any(|part| part.required) && parts.iter().any(|part| !part.required));
        let deeper =
            parts.iter().filter_map(|p| if let Act::Spawn(parts) = part(&p.name, 1) { Some(parts) } else { None });
        let deepest: Vec<Part> = deeper.flatten().collect();
        assert!(!deepest.is_empty());
        assert!(deepest.iter().all(|p| !matches!(part(&p.name, 1), Act::Spawn(_))), "parts of parts of parts");
    }

    #[test]
    fn some_jobs_that_stumble_recover_and_some_never_do() {
        let stumbles = |name: &String| analysis(name, 1, 0) == Act::Stumble;
        let names: Vec<String> = (0..1000).map(|n| format!("profile-{n}")).filter(stumbles).collect();
        assert!(names.iter().any(|name| analysis(name, 3, 0) == Act::Complete));
        assert!(names.iter().any(|name| analysis(name, 3, 0) == Act::Stumble));
    }

    #[test]
    fn what_was_found_finds_nothing_more() {
        assert!((0..1000).all(|n| !matches!(analysis(&format!("profile-{n}"), 1, 1), Act::Discover(_))));
    }
}
