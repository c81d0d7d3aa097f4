//! `events.md`: the Events of both kinds.

use switchyard_operator::crd::conditions::{ConditionType, Documented, EventReason, PLATFORM, POOL, Reason};

use crate::markdown::{Page, codes};

/// The page.
pub fn page() -> Page {
    let mut page = Page::new(
        "events.md",
        "Events",
        "This page lists the reason of every Event that the operator emits on an AnalyticsPlatform or a WorkerPool.",
    );
    page.paragraph(
        "`kubectl events --for ap/NAME` shows the Events of a platform. See [debug a platform](../how-to/debug.md). \
         [Conditions](conditions.md) explains the reasons that an Event shares with a condition.",
    );
    page.heading(2, "Actions and recoveries");
    for reason in EventReason::ALL {
        let kind = if reason.is_warning() { "Warning" } else { "Normal" };
        page.item(0, &format!("`{}` ({kind}): {}", reason.as_str(), reason.meaning()));
        if !reason.remedy().is_empty() {
            page.item(1, &format!("Remedy: {}", reason.remedy()));
        }
    }
    page.heading(2, "Changes of the condition `Ready`");
    page.paragraph(
        "A Warning has the reason of the condition. It means that a person must fix something. The action of the Event \
         is the type of the condition.",
    );
    let ready = |documented: &'static [Documented], progress: bool| {
        documented
            .iter()
            .filter(|one| one.kind == ConditionType::Ready)
            .flat_map(|one| one.rows)
            .filter(move |row| row.statuses.contains(&"False") && row.reason.is_progress() == progress)
            .map(|row| row.reason.as_str())
    };
    page.item(0, &format!("Warnings of an AnalyticsPlatform: {}.", codes(ready(PLATFORM, false))));
    page.item(0, &format!("Warnings of a WorkerPool: {}.", codes(ready(POOL, false))));
    page.paragraph(
        "A Normal Event means that `Ready` was True and is temporarily False. During the first start only the \
         conditions show these steps.",
    );
    page.item(0, &format!("Normal Events of an AnalyticsPlatform: {}.", codes(ready(PLATFORM, true))));
    page.item(0, &format!("Normal Events of a WorkerPool: {}.", codes(ready(POOL, true))));
    page.heading(2, "Changes of other conditions");
    page.paragraph(
        "A Warning has the reason with which a condition becomes False. A Normal Event follows when the condition is \
         True again, with the reason that it then has. `Reconciling` and `Stalled` emit no Events, because they repeat \
         `Ready`.",
    );
    for (owner, documented) in [("an AnalyticsPlatform", PLATFORM), ("a WorkerPool", POOL)] {
        for same in documented.chunk_by(|one, next| std::ptr::eq(one.rows, next.rows)) {
            other(&mut page, owner, same);
        }
    }
    page
}

/// The item of condition types with the same reasons.
fn other(page: &mut Page, owner: &str, same: &[Documented]) {
    let [documented, ..] = same else { return };
    if documented.kind == ConditionType::Ready || documented.kind.repeats_ready() {
        return;
    }
    let types = codes(same.iter().map(|one| one.kind.as_str()));
    let names = |status: &'static str| {
        let rows = documented.rows.iter().filter(move |row| row.statuses.contains(&status));
        let names = rows.filter(|row| !row.reason.is_progress()).map(|row| match &row.reason {
            Reason::Autoscaler(_) => "any reason of the autoscaler".to_owned(),
            reason => format!("`{reason}`"),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let normal = match names("True").as_str() {
        "" => String::new(),
        normal => format!("; Normal {normal}"),
    };
    page.item(0, &format!("{types} of {owner}: Warning {}{normal}.", names("False")));
}
