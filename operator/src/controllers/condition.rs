//! Conditions: a status, a stable reason, and words for a person. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{self as metav1, Time},
    jiff::Timestamp,
};
use kube::runtime::events::{Event, EventType};

/// True, False or Unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// What a condition should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub kind: &'static str,
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
}

/// A statement.
pub fn condition(
    kind: &'static str,
    status: impl Into<ConditionStatus>,
    reason: impl Into<String>,
    message: impl Into<String>,
) -> Condition {
    Condition { kind, status: status.into(), reason: reason.into(), message: message.into() }
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [metav1::Condition], kind: &str) -> Option<&'a metav1::Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The conditions that `statements` make of the `previous` ones: the time of transition moves only with the status.
pub fn merged_conditions(
    previous: &[metav1::Condition],
    statements: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<metav1::Condition> {
    // Whole seconds, as the API server keeps them; else a condition would differ from itself once stored.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    statements
        .into_iter()
        .map(|statement| {
            let status = statement.status.as_str();
            let since = find(previous, statement.kind)
                .filter(|old| old.status == status)
                .map(|old| old.last_transition_time.clone());
            metav1::Condition {
                type_: statement.kind.into(),
                status: status.into(),
                reason: statement.reason,
                message: statement.message,
                observed_generation: generation,
                last_transition_time: since.unwrap_or(Time(now)),
            }
        })
        .collect()
}

/// The conditions of an object that could not even be looked at, for the API server refuses what has to be read: what is known stays.
pub fn unreadable(
    previous: &[metav1::Condition],
    reason: &str,
    words: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<metav1::Condition> {
    let message = format!("{words}. What ran before goes on running.");
    let ready = condition("Ready", false, reason, &message);
    let rest = [
        condition("Reconciling", false, "Stalled", "Waiting for somebody to mend what stands in the way."),
        condition("Stalled", true, reason, &message),
    ];
    let known = previous.iter().filter(|old| old.type_ != ready.kind && rest.iter().all(|new| new.kind != old.type_));
    let mut all = merged_conditions(previous, vec![ready.clone()], generation, now);
    all.extend(known.cloned());
    all.extend(merged_conditions(previous, rest.to_vec(), generation, now));
    all
}

/// What a person should know about the way from the `previous` conditions to the `current` ones, one Event each: of `Ready` every other status or
/// reason, but not the steps of the way there; of the rest what went wrong, and that it went away. `Reconciling` and `Stalled` repeat what others say.
pub fn events(previous: &[metav1::Condition], current: &[metav1::Condition]) -> Vec<Event> {
    current
        .iter()
        .filter(|condition| {
            let old = find(previous, &condition.type_);
            let changed = old.is_none_or(|old| old.status != condition.status || old.reason != condition.reason);
            match condition.type_.as_str() {
                "Reconciling" | "Stalled" => false,
                "Ready" => {
                    let step = condition.status == "False" && is_progress(&condition.reason);
                    changed && (!step || old.is_some_and(|old| old.status == "True"))
                }
                _ => changed && (is_wrong(condition) || (condition.status == "True" && old.is_some_and(is_wrong))),
            }
        })
        .map(|condition| Event {
            type_: if is_wrong(condition) { EventType::Warning } else { EventType::Normal },
            reason: if condition.type_ == "Ready" && condition.status == "True" {
                "Ready".into()
            } else {
                condition.reason.clone()
            },
            note: Some(shortened(&format!("{}: {}", condition.type_, condition.message))),
            // Events of one reason and action are counted as one.
            action: condition.type_.clone(),
            secondary: None,
        })
        .collect()
}

/// Whether something is wrong that does not pass by itself.
fn is_wrong(condition: &metav1::Condition) -> bool {
    condition.status == "False" && !is_progress(&condition.reason)
}

/// Reasons that pass by themselves.
fn is_progress(reason: &str) -> bool {
    matches!(reason, "Starting" | "SettingUp" | "NotApplied" | "Progressing" | "WaitingForPlatform" | "NotConfigured")
}

/// An Event's note has at most 1 kB.
fn shortened(text: &str) -> String {
    text.char_indices().nth(900).map_or_else(|| text.to_owned(), |(end, _)| format!("{}…", &text[..end.min(1000)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn the_time_moves_with_the_status_alone() {
        let first = merged_conditions(&[], vec![condition("Ready", false, "Starting", "a")], Some(1), at(10));
        let second = merged_conditions(&first, vec![condition("Ready", false, "SettingUp", "b")], Some(2), at(20));
        assert_eq!(second[0].last_transition_time.0, at(10));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("SettingUp", Some(2)));
        let third = merged_conditions(&second, vec![condition("Ready", true, "Ready", "c")], Some(2), at(30));
        assert_eq!(third[0].last_transition_time.0, at(30));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_stays() {
        let before = merged_conditions(
            &[],
            vec![
                condition("Ready", true, "Serving", "a"),
                condition("DatabaseReady", true, "SetupSucceeded", "b"),
                condition("Stalled", false, "NotStalled", "c"),
            ],
            Some(1),
            at(10),
        );
        let after = unreadable(&before, "Forbidden", "cannot read Secret x: no", Some(2), at(20));
        let told: Vec<_> =
            after.iter().map(|one| (one.type_.as_str(), one.status.as_str(), one.reason.as_str())).collect();
        assert_eq!(
            told,
            [
                ("Ready", "False", "Forbidden"),
                ("DatabaseReady", "True", "SetupSucceeded"),
                ("Reconciling", "False", "Stalled"),
                ("Stalled", "True", "Forbidden")
            ]
        );
        assert_eq!(unreadable(&after, "Forbidden", "cannot read Secret x: no", Some(2), at(30)), after, "and once");
    }

    #[test]
    fn events_tell_changes_once() {
        let first = merged_conditions(
            &[],
            vec![condition("Ready", false, "SecretMissing", "a"), condition("Stalled", true, "SecretMissing", "a")],
            Some(1),
            at(10),
        );
        let told = events(&[], &first);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].type_, told[0].reason.as_str()), (EventType::Warning, "SecretMissing"));
        assert!(events(&first, &first).is_empty());
        let second = merged_conditions(&first, vec![condition("Ready", true, "Serving", "b")], Some(1), at(20));
        assert_eq!(events(&first, &second)[0].type_, EventType::Normal);
    }

    #[test]
    fn of_the_parts_only_what_went_wrong_and_its_end_are_told() {
        let say = |previous: &[metav1::Condition], status: bool, reason: &str| {
            merged_conditions(previous, vec![condition("DatabaseReady", status, reason, "m")], Some(1), at(10))
        };
        let starting = say(&[], false, "Starting");
        let ready = say(&starting, true, "SetupSucceeded");
        let failed = say(&ready, false, "SetupFailed");
        let mended = say(&failed, true, "SetupSucceeded");
        let count = |previous: &[metav1::Condition], current: &[metav1::Condition]| events(previous, current).len();
        assert_eq!(
            [count(&[], &starting), count(&starting, &ready), count(&ready, &failed), count(&failed, &mended)],
            [0, 0, 1, 1]
        );
    }
}
