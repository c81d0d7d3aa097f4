//! A `HorizontalPodAutoscaler` with one external metric and an `AverageValue` target.
//!
//! It follows the Kubernetes documentation ("Horizontal Pod Autoscaling") and the code of the
//! controller.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};
use switchyard_operator::spec::replicas::ScalingBounds;

use crate::time::{Time, milliseconds};

/// Sync period of the controller, in milliseconds.
pub const SYNC_PERIOD: Time = 15_000;
/// Deviation of the metric from the current pods that is ignored, as a fraction.
const TOLERANCE: f64 = 0.1;

/// The default behavior of Kubernetes: up by 100 % or four pods in 15 s, down without limit after a
/// stabilization window of 300 s.
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

/// An autoscaler with its history of recommendations and changes.
#[derive(Debug)]
pub struct Hpa {
    up: HPAScalingRules,
    down: HPAScalingRules,
    bounds: ScalingBounds,
    /// Recommendations within the longest window, by time.
    recommended: Vec<(Time, u32)>,
    /// Pods added, by time.
    added: Vec<(Time, u32)>,
    /// Pods removed, by time.
    removed: Vec<(Time, u32)>,
}

impl Hpa {
    /// An autoscaler between these bounds. It never recommends fewer than one pod.
    pub fn new(behavior: HorizontalPodAutoscalerBehavior, bounds: ScalingBounds) -> Self {
        Self {
            up: behavior.scale_up.unwrap_or_default(),
            down: behavior.scale_down.unwrap_or_default(),
            bounds: bounds.at_least_one(),
            recommended: Vec::new(),
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Returns the desired replicas for `current` ones. `metric` is the metric in units of pods;
    /// `None` if it is unavailable, which changes nothing.
    pub fn sync(&mut self, now: Time, current: u32, metric: Option<f64>) -> u32 {
        let (min, max) = (self.bounds.min().cast_unsigned(), self.bounds.max().cast_unsigned());
        if current == 0 {
            return 0;
        }
        let Some(metric) = metric else { return current };
        let ratio = metric / f64::from(current);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let desired = if (ratio - 1.0).abs() > TOLERANCE { metric.ceil() as u32 } else { current };
        let stable = self.stabilized(now, current, desired);
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

    /// Limits the recommendation: at most the lowest one in the scale-up window, at least the
    /// highest one in the scale-down window.
    fn stabilized(&mut self, now: Time, current: u32, desired: u32) -> u32 {
        let within = |rules: &HPAScalingRules| {
            let window = window(rules);
            self.recommended.iter().filter(move |(at, _)| at + window > now).map(|(_, pods)| *pods).chain([desired])
        };
        let lowest = within(&self.up).min().unwrap_or(desired);
        let highest = within(&self.down).max().unwrap_or(desired);
        let longest = window(&self.up).max(window(&self.down));
        self.recommended.retain(|(at, _)| at + longest >= now);
        self.recommended.push((now, desired));
        current.max(lowest).min(highest)
    }

    /// Upper limit by the scale-up policies.
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

    /// Lower limit by the scale-down policies.
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

    /// Pods at the start of the policy's period.
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
        Hpa::new(default_behavior(), ScalingBounds::new(1, 50))
    }

    #[test]
    fn metric_within_the_tolerance_changes_nothing() {
        assert_eq!(hpa().sync(0, 10, Some(10.9)), 10);
        assert_eq!(hpa().sync(0, 10, Some(11.1)), 12);
    }

    #[test]
    fn scale_up_doubles_or_adds_four_pods_per_period() {
        let mut hpa = hpa();
        assert_eq!(hpa.sync(0, 1, Some(40.0)), 5);
        assert_eq!(hpa.sync(15_000, 5, Some(40.0)), 10);
        assert_eq!(hpa.sync(20_000, 10, Some(40.0)), 10, "the policy of this period is used up");
        assert_eq!(hpa.sync(30_000, 10, Some(80.0)), 20);
        assert_eq!(hpa.sync(45_000, 20, Some(80.0)), 40);
        assert_eq!(hpa.sync(60_000, 40, Some(80.0)), 50, "never above the maximum");
    }

    #[test]
    fn scale_down_waits_for_the_whole_stabilization_window() {
        let mut hpa = hpa();
        assert_eq!(hpa.sync(0, 10, Some(10.0)), 10);
        for now in (15_000..300_000).step_by(15_000) {
            assert_eq!(hpa.sync(now, 10, Some(2.0)), 10);
        }
        assert_eq!(hpa.sync(300_000, 10, Some(2.0)), 2);
    }

    #[test]
    fn scale_down_policies_limit_removed_pods() {
        let mut hpa = hpa();
        hpa.down = HPAScalingRules {
            stabilization_window_seconds: Some(0),
            select_policy: Some("Max".into()),
            policies: Some(vec![HPAScalingPolicy { type_: "Percent".into(), value: 20, period_seconds: 60 }]),
            ..HPAScalingRules::default()
        };
        assert_eq!(hpa.sync(0, 10, Some(1.0)), 8);
        assert_eq!(hpa.sync(15_000, 8, Some(1.0)), 8);
        assert_eq!(hpa.sync(60_000, 8, Some(1.0)), 6);
    }

    #[test]
    fn missing_metric_and_zero_pods_change_nothing() {
        assert_eq!(hpa().sync(0, 7, None), 7);
        assert_eq!(hpa().sync(0, 0, Some(9.0)), 0);
    }
}
