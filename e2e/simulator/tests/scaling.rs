//! What must hold of the scaling of pools, whatever comes, and what is better than the plain rule.

use std::sync::LazyLock;

use switchyard_simulator::{
    Time, fleet, milliseconds,
    pattern::{Pattern, all},
    report::{Row, rows},
    rule::{Rule, TARGET},
    run::run,
    tally::Tally,
};

const MINUTE: f64 = 60.0;

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| rows(all(1).expect("the trace is sound")));

fn minutes(minutes: f64) -> Time {
    milliseconds(minutes * MINUTE)
}

fn of(rule: Rule, name: &str) -> &'static Tally {
    let (_, tallies) = ROWS.iter().find(|(pattern, _)| pattern.name == name).expect("there is such a pattern");
    &tallies.iter().find(|(other, _)| *other == rule).expect("there is such a rule").1
}

fn patterns() -> impl Iterator<Item = &'static Pattern> {
    ROWS.iter().map(|(pattern, _)| pattern)
}

/// The plain rule with few messages for each pod.
fn cautious() -> Rule {
    Rule::all()[1]
}

#[test]
fn nothing_is_interrupted_and_nothing_lost() {
    for (pattern, tallies) in ROWS.iter() {
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
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let noise = |seed| all(seed).unwrap().swap_remove(0);
    assert_eq!(run(&noise(7), Rule::Capacity), run(&noise(7), Rule::Capacity));
    assert_ne!(run(&noise(7), Rule::Capacity).waits, run(&noise(8), Rule::Capacity).waits);
}

#[test]
fn chance_alone_moves_a_pod_once_in_hours_where_the_plain_rule_moves_pods_every_few_minutes() {
    // The pool begins with one pod, and may first get one too many.
    let begun = minutes(30.0);
    let (mut ours, mut theirs) = (0, 0);
    for seed in 1..=5 {
        let noise = all(seed).unwrap().swap_remove(0);
        let tally = run(&noise, Rule::Capacity);
        let after = || tally.sizes.iter().filter(|(at, _)| *at > begun).map(|(_, pods)| *pods);
        assert!(after().max().unwrap_or(0) - after().min().unwrap_or(0) <= 1, "seed {seed}: {:?}", tally.sizes);
        ours += tally.reversals_after(begun);
        theirs += run(&noise, cautious()).reversals_after(begun);
    }
    // In 17.5 hours each.
    assert!(ours <= 4 && theirs > 300, "{ours} and {theirs}");
}

#[test]
fn a_job_that_finds_no_pods_waits_for_one_to_start_and_little_more() {
    let tally = of(Rule::Capacity, "zero");
    assert_eq!(tally.completed, 3);
    assert!(tally.wait(100) <= switchyard_simulator::seconds(fleet::START) + 10.0, "{}", tally.wait(100));
    let none = tally.sizes.iter().filter(|(_, pods)| *pods == 0).count();
    assert_eq!(none, 4, "none at first, and none after each job: {:?}", tally.sizes);
}

#[test]
fn after_a_step_up_the_target_is_met_and_after_a_step_down_pods_go_slowly() {
    let tally = of(Rule::Capacity, "step");
    let step = tally.wait_of(95, minutes(30.0)..minutes(40.0));
    assert!(step <= TARGET, "of the first ten minutes, in which pods start for six times the load: {step}");
    let settled = tally.wait_of(99, minutes(32.0)..minutes(90.0));
    assert!(settled < 5.0, "{settled}");
    let down: Vec<_> = tally.sizes.windows(2).filter(|pair| pair[1].0 > minutes(90.0)).collect();
    assert!(down.len() > 1 && down[0][1].0 > minutes(97.0), "{down:?}");
    for (before, after) in down.iter().map(|pair| (pair[0].1, pair[1].1)) {
        assert!(before - after <= before.div_ceil(2).max(2), "{down:?}");
    }
}

#[test]
fn while_nothing_is_known_nothing_changes() {
    let tally = of(Rule::Capacity, "away");
    let away = minutes(30.0) + 5_000..minutes(40.0);
    assert!(!tally.sizes.iter().any(|(at, _)| away.contains(at)), "{:?}", tally.sizes);
    assert!(tally.wait_of(99, minutes(45.0)..minutes(80.0)) <= TARGET, "what had piled up is gone five minutes later");
}

#[test]
fn there_are_fewer_reversals_than_with_either_plain_rule() {
    let reversals = |rule| patterns().map(|pattern| of(rule, pattern.name).reversals()).sum::<usize>();
    let [ours, cautious, tuned] = Rule::all().map(reversals);
    assert!(ours * 4 < cautious && ours * 4 < tuned, "{ours}, {cautious}, {tuned}");
}

#[test]
fn waits_are_shorter_at_a_lower_cost_except_where_load_comes_in_bursts_that_no_pod_can_be_ready_for() {
    let sum = |rule, of_each: fn(&Tally) -> f64| patterns().map(|pattern| of_each(of(rule, pattern.name))).sum::<f64>();
    assert!(sum(Rule::Capacity, Tally::pod_hours) < 0.8 * sum(cautious(), Tally::pod_hours));
    for pattern in patterns() {
        let (ours, theirs) = (of(Rule::Capacity, pattern.name), of(cautious(), pattern.name));
        assert!(ours.late() <= theirs.late(), "{}", pattern.name);
        let cheaper = ours.pod_hours() < theirs.pod_hours();
        let dearer_as_we_know = ["bursts", "long sawtooth", "away", "zero"].contains(&pattern.name);
        assert_ne!(
            cheaper,
            dearer_as_we_know,
            "{}: {} and {} pod-hours",
            pattern.name,
            ours.pod_hours(),
            theirs.pod_hours()
        );
    }
}

#[test]
fn the_plain_rule_that_costs_less_keeps_more_jobs_waiting() {
    let tuned = Rule::all()[2];
    for pattern in patterns().filter(|pattern| !["zero"].contains(&pattern.name)) {
        let (ours, theirs) = (of(Rule::Capacity, pattern.name), of(tuned, pattern.name));
        assert!(ours.late() < theirs.late(), "{}", pattern.name);
    }
}
