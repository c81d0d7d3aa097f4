//! `conditions.md`: the conditions of both kinds.

use switchyard_operator::crd::conditions::{Documented, PLATFORM, POOL, Reason};

use crate::markdown::{Page, codes, sentence};

/// The page.
pub fn page() -> Page {
    let mut page = Page::new(
        "conditions.md",
        "Conditions",
        "This page lists every condition of an AnalyticsPlatform and of a WorkerPool, with each reason, its meaning and \
         the remedy.",
    );
    page.paragraph(
        "`kubectl get ap,wp` shows the reason and the message of the condition `Ready`. `kubectl describe` shows all \
         conditions. The message names the objects concerned. Every condition carries `observedGeneration`. See \
         [debug a platform](../how-to/debug.md) and [Events](events.md).",
    );
    for (owner, documented) in [("an AnalyticsPlatform", PLATFORM), ("a WorkerPool", POOL)] {
        page.heading(2, &format!("Conditions of {owner}"));
        for same in documented.chunk_by(|one, next| std::ptr::eq(one.rows, next.rows)) {
            condition(&mut page, same, owner);
        }
    }
    page
}

/// The section of condition types with the same reasons.
fn condition(page: &mut Page, same: &[Documented], owner: &str) {
    let [documented, others @ ..] = same else { return };
    let names = codes(same.iter().map(|one| one.kind.as_str()));
    page.heading(3, &format!("{names} of {owner}"));
    if !others.is_empty() {
        page.paragraph("These conditions have the same reasons.");
        for one in same {
            page.item(0, &format!("`{}`: {}", one.kind, one.meaning));
        }
    }
    let present = match documented.present {
        "" => "Always present.".to_owned(),
        present => format!("Present: {}{}", present[..1].to_lowercase(), &present[1..]),
    };
    let meaning = if others.is_empty() { documented.meaning } else { "Reasons of each:" };
    page.paragraph(&if others.is_empty() { format!("{meaning} {present}") } else { format!("{present} {meaning}") });
    for row in documented.rows {
        let name = match &row.reason {
            Reason::Autoscaler(_) => "Any other reason".to_owned(),
            reason => format!("`{reason}`"),
        };
        page.item(0, &format!("{name} ({}): {}", row.statuses.join(" or "), sentence(row.meaning())));
        if !row.remedy().is_empty() {
            page.item(1, &format!("Remedy: {}", row.remedy()));
        }
    }
}
