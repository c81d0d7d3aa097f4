//! Events about recoveries.

use kube::runtime::events::{Event, EventType};

/// A Warning about a recovery. Notes are cut at 1000 characters, since the API server limits them.
#[expect(clippy::needless_pass_by_value, reason = "its callers format the note")]
pub(super) fn warning(reason: &str, note: String) -> Event {
    let note = note.chars().take(1000).collect();
    Event {
        type_: EventType::Warning,
        reason: reason.into(),
        note: Some(note),
        action: "Recover".into(),
        secondary: None,
    }
}
