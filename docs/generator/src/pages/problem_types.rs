//! `problem-types.md`: the problem details of the API.

use switchyard_api::reference::ProblemType;

use crate::markdown::{Page, codes};

/// The page.
pub fn page() -> Page {
    let mut page = Page::new(
        "problem-types.md",
        "Problem types",
        "This page lists every problem type of the HTTP API, with its status, its meaning and what the caller does.",
    );
    page.paragraph(
        "Every response that is not a success has a body of type `application/problem+json` (RFC 9457). `type`, `code` \
         and the status are stable. `title` and `detail` are for people and may change. `/openapi.json` lists the \
         problem types of each operation. See [debug a platform](../how-to/debug.md).",
    );
    page.paragraph("Every problem has these members:");
    page.item(0, "`type`: stable URI, which ends with `code`");
    page.item(0, "`code`: stable name of the type");
    page.item(0, "`title`: summary of the type");
    page.item(0, "`status`: the HTTP status");
    page.item(0, "`detail`: what happened in this request, and what to do about it");
    page.item(0, "`retry_after_seconds`: the value of the header `Retry-After`, where the response has it");
    page.heading(2, "Types");
    for problem in ProblemType::ALL {
        page.heading(3, &format!("`{}`", problem.slug()));
        page.paragraph(problem.meaning());
        page.item(0, &format!("Status: {} ({})", problem.status().as_u16(), problem.title()));
        page.item(0, &format!("Type: `{}`", problem.uri()));
        let retry_after = problem.retry_after();
        page.item(0, &format!("`Retry-After`: {}", if retry_after.is_empty() { "none" } else { retry_after }));
        if !problem.members().is_empty() {
            page.item(0, &format!("Further members: {}", codes(problem.members())));
        }
        page.item(0, &format!("Remedy: {}", problem.remedy()));
    }
    page
}
