//! The table.

use std::fmt::Write as _;

use crate::{
    fleet::{CONCURRENCY, START},
    pattern::{Pattern, SERVICE},
    rule::{Rule, TARGET},
    run::run,
    seconds,
    tally::Tally,
};

/// A pattern and what came of it under each rule.
pub type Row = (Pattern, Vec<(Rule, Tally)>);

/// Runs each of `patterns` under each rule.
pub fn rows(patterns: Vec<Pattern>) -> Vec<Row> {
    patterns
        .into_iter()
        .map(|pattern| {
            let tallies = Rule::all().map(|rule| (rule, run(&pattern, rule))).to_vec();
            (pattern, tallies)
        })
        .collect()
}

/// As Markdown.
pub fn markdown(rows: &[Row], seed: u64) -> String {
    let mut text = format!(
        "Seed {seed}; {CONCURRENCY} slots a pod, {:.0} s for a pod to start, jobs of {SERVICE:.0} s in the mean (log-normal), of all four lanes, {TARGET:.0} s to wait at most.\n\n\
         | pattern | rule | wait p50 s | p95 s | p99 s | late % | pod-hours | changes | reversals | refused | interrupted | lost |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        seconds(START),
    );
    for (pattern, tallies) in rows {
        for (rule, tally) in tallies {
            line(&mut text, pattern.name, *rule, tally);
        }
    }
    totals(&mut text, rows);
    text.push('\n');
    for (pattern, _) in rows {
        let (min, max) = pattern.bounds;
        writeln!(text, "- **{}** ({min} to {max} pods): {}.", pattern.name, pattern.what).unwrap_or_default();
    }
    text
}

/// All patterns together, and where each of the other rules is better than ours.
fn totals(text: &mut String, rows: &[Row]) {
    let of = |rule: Rule| {
        rows.iter().flat_map(|(_, tallies)| tallies).filter(move |(other, _)| *other == rule).map(|(_, tally)| tally)
    };
    for rule in Rule::all() {
        let hours: f64 = of(rule).map(Tally::pod_hours).sum();
        let changes: usize = of(rule).map(Tally::changes).sum();
        let reversals: usize = of(rule).map(Tally::reversals).sum();
        writeln!(text, "| **all** | {} | | | | | {hours:.1} | {changes} | {reversals} | | | |", rule.name())
            .unwrap_or_default();
    }
    text.push('\n');
    let [ours, others @ ..] = Rule::all();
    for other in others {
        let better = |figure: fn(&Tally) -> f64| {
            let pairs = rows.iter().zip(of(ours).zip(of(other)));
            let names: Vec<&str> = pairs
                .filter(|(_, (ours, theirs))| figure(theirs) < figure(ours))
                .map(|((pattern, _), _)| pattern.name)
                .collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let reversals = better(|tally| tally.reversals() as f64);
        writeln!(
            text,
            "Where *{}* is better than Switchyard: fewer pod-hours in {}; a shorter p95 in {}; fewer late jobs in {}; fewer reversals in {reversals}.\n",
            other.name(),
            better(Tally::pod_hours),
            better(|tally| tally.wait(95)),
            better(Tally::late),
        )
        .unwrap_or_default();
    }
}

fn line(text: &mut String, name: &str, rule: Rule, tally: &Tally) {
    writeln!(
        text,
        "| {name} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {} | {} |",
        rule.name(),
        tally.wait(50),
        tally.wait(95),
        tally.wait(99),
        tally.late(),
        tally.pod_hours(),
        tally.changes(),
        tally.reversals(),
        tally.refused,
        tally.interrupted,
        tally.lost(),
    )
    .unwrap_or_default();
}
