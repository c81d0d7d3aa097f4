//! Properties of Switchyard's scaling for every pattern, and comparisons with the queue-length
//! rule.

use std::sync::LazyLock;

use switchyard_simulator::{
    pattern::{Pattern, all},
    pods,
    report::{PatternResult, simulate},
    rule::{Rule, TARGET},
    run::run,
    tally::Tally,
    time::{Time, milliseconds, seconds},
};

const MINUTE: f64 = 60.0;

static RESULTS: LazyLock<Vec<PatternResult>> = LazyLock::new(|| simulate(all(1).expect("the trace is valid")));

fn minutes(minutes: f64) -> Time {
    milliseconds(minutes * MINUTE)
}

fn of(rule: Rule, name: &str) -> &'static Tally {
    let (_, tallies) = RESULTS.iter().find(|(pattern, _)| pattern.name == name).expect("there is such a pattern");
    &tallies.iter().find(|(other, _)| *other == rule).expect("there is such a rule").1
}

fn patterns() -> impl Iterator<Item = &'static Pattern> {
    RESULTS.iter().map(|(pattern, _)| pattern)
}

/// The queue-length rule with few messages per pod.
fn cautious() -> Rule {
    Rule::all()[1]
}

#[test]
fn no_job_is_interrupted_or_lost() {
    for (pattern, tallies) in RESULTS.iter() {
        for (rule, tally) in tallies {
            assert_eq!((tally.interrupted, tally.lost()), (0, 0), "{} under {}", pattern.name, rule.name());
            assert_eq!(
                tally.accepted + tally.refused,
                pattern.jobs.len() as u64,
                "{} under {}",
                pattern.name,
                rule.name()
            );
        }
    }
}

#[test]
fn same_seed_gives_the_same_run() {
    let noise = |seed| all(seed).unwrap().swap_remove(0);
    assert_eq!(run(&noise(7), Rule::Capacity), run(&noise(7), Rule::Capacity));
    assert_ne!(run(&noise(7), Rule::Capacity).waits, run(&noise(8), Rule::Capacity).waits);
}

#[test]
fn noise_rarely_changes_the_size_of_the_pool() {
    // The pool starts with one pod and may overshoot by one at first.
    let settled = minutes(30.0);
    let (mut ours, mut theirs) = (0, 0);
    for seed in 1..=5 {
        let noise = all(seed).unwrap().swap_remove(0);
        let tally = run(&noise, Rule::Capacity);
        let after = || tally.sizes.iter().filter(|(at, _)| *at > settled).map(|(_, pods)| *pods);
        assert!(after().max().unwrap_or(0) - after().min().unwrap_or(0) <= 1, "seed {seed}: {:?}", tally.sizes);
        ours += tally.reversals_after(settled);
        theirs += run(&noise, cautious()).reversals_after(settled);
    }
    // In 17.5 hours each.
    assert!(ours <= 4 && theirs > 300, "{ours} and {theirs}");
}

#[test]
fn job_in_an_empty_pool_waits_for_one_pod_to_start() {
    let tally = of(Rule::Capacity, "zero");
    assert_eq!(tally.completed, 3);
    assert!(tally.wait(100) <= seconds(pods::STARTUP) + 10.0, "{}", tally.wait(100));
    let none = tally.sizes.iter().filter(|(_, pods)| *pods == 0).count();
    assert_eq!(none, 4, "zero pods at first and after each job: {:?}", tally.sizes);
}

#[test]
fn step_up_meets_the_target_and_step_down_is_gradual() {
    let tally = of(Rule::Capacity, "step");
    let step = tally.wait_of(95, minutes(30.0)..minutes(40.0));
    assert!(step <= TARGET, "in the first ten minutes, while pods start for six times the load: {step}");
    let settled = tally.wait_of(99, minutes(32.0)..minutes(90.0));
    assert!(settled < 5.0, "{settled}");
    let down: Vec<_> = tally.sizes.windows(2).filter(|pair| pair[1].0 > minutes(90.0)).collect();
    assert!(down.len() > 1 && down[0][1].0 > minutes(97.0), "{down:?}");
    for (before, after) in down.iter().map(|pair| (pair[0].1, pair[1].1)) {
        assert!(before - after <= before.div_ceil(2).max(2), "{down:?}");
    }
}

#[test]
fn missing_statistics_change_nothing() {
    let tally = of(Rule::Capacity, "outage");
    let outage = minutes(30.0) + 5_000..minutes(40.0);
    assert!(!tally.sizes.iter().any(|(at, _)| outage.contains(at)), "{:?}", tally.sizes);
    assert!(tally.wait_of(99, minutes(45.0)..minutes(80.0)) <= TARGET, "the backlog is gone five minutes later");
}

#[test]
fn capacity_rule_reverses_less_often_than_queue_length_rules() {
    let reversals = |rule| patterns().map(|pattern| of(rule, pattern.name).reversals()).sum::<usize>();
    let [ours, cautious, tuned] = Rule::all().map(reversals);
    assert!(ours * 4 < cautious && ours * 4 < tuned, "{ours}, {cautious}, {tuned}");
}

#[test]
fn capacity_rule_waits_less_at_lower_cost_except_for_bursts() {
    let sum = |rule, of_each: fn(&Tally) -> f64| patterns().map(|pattern| of_each(of(rule, pattern.name))).sum::<f64>();
    assert!(sum(Rule::Capacity, Tally::pod_hours) < 0.8 * sum(cautious(), Tally::pod_hours));
    for pattern in patterns() {
        let (ours, theirs) = (of(Rule::Capacity, pattern.name), of(cautious(), pattern.name));
        assert!(ours.late() <= theirs.late(), "{}", pattern.name);
        let cheaper = ours.pod_hours() < theirs.pod_hours();
        let known_to_cost_more = ["bursts", "long sawtooth", "outage", "zero"].contains(&pattern.name);
        assert_ne!(
            cheaper,
            known_to_cost_more,
            "{}: {} and {} pod-hours",
            pattern.name,
            ours.pod_hours(),
            theirs.pod_hours()
        );
    }
}

#[test]
fn cheaper_queue_length_rule_has_more_late_jobs() {
    let tuned = Rule::all()[2];
    for pattern in patterns().filter(|pattern| !["zero"].contains(&pattern.name)) {
        let (ours, theirs) = (of(Rule::Capacity, pattern.name), of(tuned, pattern.name));
        assert!(ours.late() < theirs.late(), "{}", pattern.name);
    }
}
