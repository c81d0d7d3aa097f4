//! The report: every pattern with every rule, as a Markdown table.

use std::fmt::Write as _;

use crate::{
    pattern::{Pattern, SERVICE},
    pods::{CONCURRENCY, STARTUP},
    rule::{Rule, TARGET},
    run::run,
    tally::Tally,
    time::seconds,
};

/// A pattern with the tally of each rule.
pub type PatternResult = (Pattern, Vec<(Rule, Tally)>);

/// Simulates each pattern with each rule.
pub fn simulate(patterns: Vec<Pattern>) -> Vec<PatternResult> {
    patterns
        .into_iter()
        .map(|pattern| {
            let tallies = Rule::all().map(|rule| (rule, run(&pattern, rule))).to_vec();
            (pattern, tallies)
        })
        .collect()
}

/// Formats the results as Markdown.
pub fn markdown(results: &[PatternResult], seed: u64) -> String {
    let mut text = format!(
        "Settings:\n\n\
         - Seed {seed}; {CONCURRENCY} slots per pod; {:.0} s for a pod to start\n\
         - A mean service time of {SERVICE:.0} s (log-normal), all four lanes\n\
         - A target wait of {TARGET:.0} s\n\n\
         | pattern | rule | p50 | p95 | p99 | late | pod-hours | changes | reversed | refused | cut | lost |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        seconds(STARTUP),
    );
    for (pattern, tallies) in results {
        for (rule, tally) in tallies {
            line(&mut text, pattern.name, *rule, tally);
        }
    }
    totals(&mut text, results);
    text.push_str("The patterns:\n\n");
    for (pattern, _) in results {
        let (min, max) = (pattern.bounds.min(), pattern.bounds.max());
        writeln!(text, "- **{}** ({min} to {max} pods): {}.", pattern.name, pattern.description).unwrap_or_default();
    }
    text
}

/// Appends the totals of all patterns, and where each other rule beats Switchyard's.
fn totals(text: &mut String, results: &[PatternResult]) {
    let of = |rule: Rule| {
        results.iter().flat_map(|(_, tallies)| tallies).filter(move |(other, _)| *other == rule).map(|(_, tally)| tally)
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
            let pairs = results.iter().zip(of(ours).zip(of(other)));
            let names: Vec<&str> = pairs
                .filter(|(_, (ours, theirs))| figure(theirs) < figure(ours))
                .map(|((pattern, _), _)| pattern.name)
                .collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let reversals = better(|tally| tally.reversals() as f64);
        writeln!(
            text,
            "Where *{}* is better than Switchyard:\n\n\
             - Fewer pod-hours: {}\n- A shorter p95: {}\n- Fewer late jobs: {}\n- Fewer reversals: {reversals}\n",
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
