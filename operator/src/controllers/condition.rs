//! Conditions of a custom resource, and the Events about their changes. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{self as metav1, Time},
    jiff::Timestamp,
};
use kube::runtime::events::{Event, EventType};

use crate::crd::conditions::{ConditionType, EventReason, PLATFORM, POOL, Reason};

/// The status of a condition.
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

/// A condition before it is merged into a status, without generation and transition time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: ConditionType,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// The reason, for programs.
    pub reason: Reason,
    /// The explanation for a person: full sentences.
    pub message: String,
}

/// A condition of type `kind`. Tests demand that the catalogue of conditions documents it.
pub fn condition(
    kind: ConditionType,
    status: impl Into<ConditionStatus>,
    reason: Reason,
    message: impl Into<String>,
) -> Condition {
    Condition { kind, status: status.into(), reason, message: message.into() }
}

/// The condition of type `kind`.
pub fn find<'a>(conditions: &'a [metav1::Condition], kind: &str) -> Option<&'a metav1::Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Merges `desired` into the `previous` conditions: the transition time changes only with the
/// status. Previous conditions that are not in `desired` are dropped.
pub fn merged_conditions(
    previous: &[metav1::Condition],
    desired: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<metav1::Condition> {
    // The API server stores whole seconds. With fractions, the status would always differ from the
    // stored one.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    desired
        .into_iter()
        .map(|condition| {
            let status = condition.status.as_str();
            let since = find(previous, condition.kind.as_str())
                .filter(|old| old.status == status)
                .map(|old| old.last_transition_time.clone());
            metav1::Condition {
                type_: condition.kind.as_str().into(),
                status: status.into(),
                reason: condition.reason.as_str().into(),
                message: condition.message,
                observed_generation: generation,
                last_transition_time: since.unwrap_or(Time(now)),
            }
        })
        .collect()
}

/// Message of `Reconciling` while the operator cannot proceed.
pub const WAITING_FOR_CORRECTION: &str = "Waiting for a correction: see the condition Ready.";

/// The conditions of an object that cannot be reconciled because the API server refuses a read.
///
/// `Ready`, `Reconciling` and `Stalled` report the refusal; the other `previous` conditions stay.
pub fn unreadable(
    previous: &[metav1::Condition],
    reason: &Reason,
    words: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<metav1::Condition> {
    let message = format!("{words}. Existing pods keep running.");
    let ready = condition(ConditionType::Ready, false, reason.clone(), &message);
    let rest = [
        condition(ConditionType::Reconciling, false, Reason::Stalled, WAITING_FOR_CORRECTION),
        condition(ConditionType::Stalled, true, reason.clone(), &message),
    ];
    let known = previous
        .iter()
        .filter(|old| old.type_ != ready.kind.as_str() && rest.iter().all(|new| new.kind.as_str() != old.type_));
    let mut all = merged_conditions(previous, vec![ready.clone()], generation, now);
    all.extend(known.cloned());
    all.extend(merged_conditions(previous, rest.to_vec(), generation, now));
    all
}

/// Events about the changes from the `previous` conditions to the `current` ones.
///
/// `Ready` emits an Event for each new status or reason, except for progress while it is not True.
/// Other conditions emit one when a failure appears and when it is resolved. `Reconciling` and
/// `Stalled` emit none, since they repeat `Ready`.
pub fn events(previous: &[metav1::Condition], current: &[metav1::Condition]) -> Vec<Event> {
    current
        .iter()
        .filter(|condition| {
            let old = find(previous, &condition.type_);
            let changed = old.is_none_or(|old| old.status != condition.status || old.reason != condition.reason);
            match condition.type_.as_str() {
                kind if repeats_ready(kind) => false,
                kind if kind == ConditionType::Ready.as_str() => {
                    let step = condition.status == "False" && is_progress(&condition.reason);
                    changed && (!step || old.is_some_and(|old| old.status == "True"))
                }
                _ => changed && (is_failure(condition) || (condition.status == "True" && old.is_some_and(is_failure))),
            }
        })
        .map(|condition| Event {
            type_: if is_failure(condition) { EventType::Warning } else { EventType::Normal },
            reason: if condition.type_ == ConditionType::Ready.as_str() && condition.status == "True" {
                EventReason::Ready.as_str().into()
            } else {
                condition.reason.clone()
            },
            note: Some(shortened(&format!("{}: {}", condition.type_, condition.message))),
            // Events with the same reason and action are aggregated.
            action: condition.type_.clone(),
            secondary: None,
        })
        .collect()
}

/// Whether the condition reports a failure that needs a person.
fn is_failure(condition: &metav1::Condition) -> bool {
    condition.status == "False" && !is_progress(&condition.reason)
}

/// Reasons that resolve without a person.
fn is_progress(reason: &str) -> bool {
    Reason::ALL.iter().any(|known| known.is(reason) && known.is_progress())
}

/// Whether a condition of this type repeats `Ready`.
fn repeats_ready(kind: &str) -> bool {
    PLATFORM.iter().chain(POOL).any(|known| known.kind.as_str() == kind && known.kind.repeats_ready())
}

/// The API server accepts notes of at most 1 kB.
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
    fn transition_time_changes_only_with_the_status() {
        let first = merged_conditions(
            &[],
            vec![condition(ConditionType::Ready, false, Reason::Starting, "a")],
            Some(1),
            at(10),
        );
        let second = merged_conditions(
            &first,
            vec![condition(ConditionType::Ready, false, Reason::SettingUp, "b")],
            Some(2),
            at(20),
        );
        assert_eq!(second[0].last_transition_time.0, at(10));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("SettingUp", Some(2)));
        let third = merged_conditions(
            &second,
            vec![condition(ConditionType::Ready, true, Reason::Serving, "c")],
            Some(2),
            at(30),
        );
        assert_eq!(third[0].last_transition_time.0, at(30));
    }

    #[test]
    fn refused_read_is_reported_and_other_conditions_stay() {
        let before = merged_conditions(
            &[],
            vec![
                condition(ConditionType::Ready, true, Reason::Serving, "a"),
                condition(ConditionType::DatabaseReady, true, Reason::SetupSucceeded, "b"),
                condition(ConditionType::Stalled, false, Reason::NotStalled, "c"),
            ],
            Some(1),
            at(10),
        );
        let after = unreadable(&before, &Reason::Forbidden, "cannot read Secret x: no", Some(2), at(20));
        let found: Vec<_> =
            after.iter().map(|one| (one.type_.as_str(), one.status.as_str(), one.reason.as_str())).collect();
        assert_eq!(
            found,
            [
                ("Ready", "False", "Forbidden"),
                ("DatabaseReady", "True", "SetupSucceeded"),
                ("Reconciling", "False", "Stalled"),
                ("Stalled", "True", "Forbidden")
            ]
        );
        assert_eq!(
            unreadable(&after, &Reason::Forbidden, "cannot read Secret x: no", Some(2), at(30)),
            after,
            "a second call changes nothing"
        );
    }

    #[test]
    fn unchanged_conditions_emit_no_event() {
        let first = merged_conditions(
            &[],
            vec![
                condition(ConditionType::Ready, false, Reason::SecretMissing, "a"),
                condition(ConditionType::Stalled, true, Reason::SecretMissing, "a"),
            ],
            Some(1),
            at(10),
        );
        let found = events(&[], &first);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].type_, found[0].reason.as_str()), (EventType::Warning, "SecretMissing"));
        assert!(events(&first, &first).is_empty());
        let second = merged_conditions(
            &first,
            vec![condition(ConditionType::Ready, true, Reason::Serving, "b")],
            Some(1),
            at(20),
        );
        assert_eq!(events(&first, &second)[0].type_, EventType::Normal);
    }

    #[test]
    fn other_conditions_emit_events_for_failures_and_their_end_only() {
        let merge = |previous: &[metav1::Condition], status: bool, reason: Reason| {
            merged_conditions(
                previous,
                vec![condition(ConditionType::DatabaseReady, status, reason, "m")],
                Some(1),
                at(10),
            )
        };
        let starting = merge(&[], false, Reason::Starting);
        let ready = merge(&starting, true, Reason::SetupSucceeded);
        let failed = merge(&ready, false, Reason::SetupFailed);
        let resolved = merge(&failed, true, Reason::SetupSucceeded);
        let count = |previous: &[metav1::Condition], current: &[metav1::Condition]| events(previous, current).len();
        assert_eq!(
            [count(&[], &starting), count(&starting, &ready), count(&ready, &failed), count(&failed, &resolved)],
            [0, 0, 1, 1]
        );
    }
}
