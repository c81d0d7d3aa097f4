//! The `HorizontalPodAutoscaler` of Kubernetes with one external metric and an `AverageValue`, as its documentation and its controller have it.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};

use crate::{Time, milliseconds};

/// From one look to the next.
pub const PERIOD: Time = 15_000;
/// How far from 1 the ratio of the metric to the pods must be.
const TOLERANCE: f64 = 0.1;

/// What an autoscaler is where nothing is said: up twofold or by four pods in 15 s, down to any number, not before five minutes have asked for fewer.
pub fn default_behavior() -> HorizontalPodAutoscalerBehavior {
    let policy = |type_: &str, value| HPAScalingPolicy { type_: type_.into(), value, period_seconds: 15 };
    let rules = |window, policies| HPAScalingRules {
        stabilization_window_seconds: Some(window),
        select_policy: Some("Max".into()),
        policies: Some(policies),
        ..HPAScalingRules::default()
    };
    HorizontalPodAutoscalerBehavior {
        scale_up: Some(rules(0, vec![policy("Percent", 100), policy("Pods", 4)])),
        scale_down: Some(rules(300, vec![policy("Percent", 100)])),
    }
}

/// An autoscaler and what it remembers.
#[derive(Debug)]
pub struct Hpa {
    up: HPAScalingRules,
    down: HPAScalingRules,
    bounds: (u32, u32),
    recommended: Vec<(Time, u32)>,
    /// Pods that were added, and taken away.
    added: Vec<(Time, u32)>,
    removed: Vec<(Time, u32)>,
}

impl Hpa {
    /// Between these bounds; fewer than one pod it never asks for.
    pub fn new(behavior: HorizontalPodAutoscalerBehavior, (min, max): (u32, u32)) -> Self {
        Self {
            up: behavior.scale_up.unwrap_or_default(),
            down: behavior.scale_down.unwrap_or_default(),
            bounds: (min.max(1), max),
            recommended: Vec::new(),
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// The pods that there should be, of which there are `current`. `metric` is what the metric comes to in pods; none when it could not be had.
    pub fn round(&mut self, now: Time, current: u32, metric: Option<f64>) -> u32 {
        let (min, max) = self.bounds;
        if current == 0 {
            return 0;
        }
        let Some(metric) = metric else { return current };
        let ratio = metric / f64::from(current);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let wanted = if (ratio - 1.0).abs() > TOLERANCE { metric.ceil() as u32 } else { current };
        let stable = self.stabilized(now, current, wanted);
        let next = if stable > current {
            stable.min(self.most(now, current)).min(max)
        } else {
            stable.max(self.fewest(now, current)).max(min)
        };
        match next {
            next if next > current => self.added.push((now, next - current)),
            next if next < current => self.removed.push((now, current - next)),
            _ => {}
        }
        next
    }

    /// Not above the lowest that the upward window has seen, nor below the highest of the downward one.
    fn stabilized(&mut self, now: Time, current: u32, wanted: u32) -> u32 {
        let within = |rules: &HPAScalingRules| {
            let window = window(rules);
            self.recommended.iter().filter(move |(at, _)| at + window > now).map(|(_, pods)| *pods).chain([wanted])
        };
        let lowest = within(&self.up).min().unwrap_or(wanted);
        let highest = within(&self.down).max().unwrap_or(wanted);
        let longest = window(&self.up).max(window(&self.down));
        self.recommended.retain(|(at, _)| at + longest >= now);
        self.recommended.push((now, wanted));
        current.max(lowest).min(highest)
    }

    fn most(&self, now: Time, current: u32) -> u32 {
        let limit = |policy: &HPAScalingPolicy| {
            let before = self.at_period_start(policy, now, current);
            match policy.type_.as_str() {
                "Percent" => (before * (1.0 + f64::from(policy.value) / 100.0)).ceil(),
                _ => before + f64::from(policy.value),
            }
        };
        whole(self.up.policies.iter().flatten().map(limit).fold(0.0, f64::max)).max(current)
    }

    fn fewest(&self, now: Time, current: u32) -> u32 {
        let limit = |policy: &HPAScalingPolicy| {
            let before = self.at_period_start(policy, now, current);
            match policy.type_.as_str() {
                "Percent" => (before * (1.0 - f64::from(policy.value) / 100.0)).floor(),
                _ => before - f64::from(policy.value),
            }
        };
        whole(self.down.policies.iter().flatten().map(limit).fold(f64::INFINITY, f64::min)).min(current)
    }

    /// Pods as they were before what was done within the policy's period.
    fn at_period_start(&self, policy: &HPAScalingPolicy, now: Time, current: u32) -> f64 {
        let period = milliseconds(f64::from(policy.period_seconds));
        let sum = |changes: &[(Time, u32)]| {
            changes.iter().filter(|(at, _)| at + period > now).map(|(_, pods)| *pods).sum::<u32>()
        };
        f64::from(current) + f64::from(sum(&self.removed)) - f64::from(sum(&self.added))
    }
}

fn window(rules: &HPAScalingRules) -> Time {
    milliseconds(f64::from(rules.stabilization_window_seconds.unwrap_or(0)))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(pods: f64) -> u32 {
    pods as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hpa() -> Hpa {
        Hpa::new(default_behavior(), (1, 50))
    }

    #[test]
    fn a_metric_within_a_tenth_of_the_pods_changes_nothing() {
        assert_eq!(hpa().round(0, 10, Some(10.9)), 10);
        assert_eq!(hpa().round(0, 10, Some(11.1)), 12);
    }

    #[test]
    fn pods_double_or_grow_by_four_in_a_period() {
        let mut hpa = hpa();
        assert_eq!(hpa.round(0, 1, Some(40.0)), 5);
        assert_eq!(hpa.round(15_000, 5, Some(40.0)), 10);
        assert_eq!(hpa.round(20_000, 10, Some(40.0)), 10, "the period's part is used up");
        assert_eq!(hpa.round(30_000, 10, Some(80.0)), 20);
        assert_eq!(hpa.round(45_000, 20, Some(80.0)), 40);
        assert_eq!(hpa.round(60_000, 40, Some(80.0)), 50, "never more than the most");
    }

    #[test]
    fn pods_go_only_when_the_whole_window_has_asked_for_fewer() {
        let mut hpa = hpa();
        assert_eq!(hpa.round(0, 10, Some(10.0)), 10);
        for now in (15_000..300_000).step_by(15_000) {
            assert_eq!(hpa.round(now, 10, Some(2.0)), 10);
        }
        assert_eq!(hpa.round(300_000, 10, Some(2.0)), 2);
    }

    #[test]
    fn policies_hold_back_what_goes() {
        let mut hpa = hpa();
        hpa.down = HPAScalingRules {
            stabilization_window_seconds: Some(0),
            select_policy: Some("Max".into()),
            policies: Some(vec![HPAScalingPolicy { type_: "Percent".into(), value: 20, period_seconds: 60 }]),
            ..HPAScalingRules::default()
        };
        assert_eq!(hpa.round(0, 10, Some(1.0)), 8);
        assert_eq!(hpa.round(15_000, 8, Some(1.0)), 8);
        assert_eq!(hpa.round(60_000, 8, Some(1.0)), 6);
    }

    #[test]
    fn nothing_known_changes_nothing_and_no_pods_stay_none() {
        assert_eq!(hpa().round(0, 7, None), 7);
        assert_eq!(hpa().round(0, 0, Some(9.0)), 0);
    }
}
