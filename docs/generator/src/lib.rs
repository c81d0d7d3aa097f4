//! Generates `docs/reference/` from the types, metrics and options of the programs.
//!
//! Each page is a module of [`pages`](mod@pages). A page types in nothing that the code knows.

use std::{fs, path::Path};

use crate::markdown::{COMMAND, Page};

pub mod defaults;
pub mod markdown;
pub mod metric;
pub mod pages;
pub mod schema;

/// Every page. `root` is the root of the repository, whose chart and rules are read.
///
/// # Errors
/// If a file of the chart or of the rules cannot be read, or if the code lacks a text that a page
/// needs.
pub fn pages(root: &Path) -> anyhow::Result<Vec<Page>> {
    Ok(vec![
        pages::resources::analytics_platform()?,
        pages::resources::worker_pool()?,
        pages::chart_values::page(root)?,
        pages::presets::page()?,
        pages::tiers::page()?,
        pages::metrics::page()?,
        pages::alerts::page(root)?,
        pages::conditions::page(),
        pages::events::page(),
        pages::problem_types::page(),
        pages::environment_variables::page()?,
    ])
}

/// A line for each page that `dir` lacks or has with another content, with what to do about it.
pub fn differences(pages: &[Page], dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        let path = dir.join(page.file);
        let stored = fs::read_to_string(&path).unwrap_or_default();
        let text = page.text();
        if stored == text {
            continue;
        }
        let line = stored.lines().zip(text.lines()).position(|(old, new)| old != new);
        let line = line.unwrap_or_else(|| stored.lines().count().min(text.lines().count()));
        found.push(format!(
            "{}:{}: out of date: run `{COMMAND}` and commit the result\n  stored:    {}\n  generated: {}",
            path.display(),
            line + 1,
            stored.lines().nth(line).unwrap_or("(end)"),
            text.lines().nth(line).unwrap_or("(end)"),
        ));
    }
    found
}
