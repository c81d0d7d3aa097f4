//! The number of pods of a workload: fixed, or between two bounds. Pure.

use crate::{
    crd::{ApiScaling, Scaling},
    spec::defaults::SURGE,
};

/// The minimum and maximum number of pods of a scaled workload.
///
/// Always `0 <= min <= max` and `1 <= max`. The schema of the CRDs demands the same; a value that
/// never passed the schema (`plan --offline`) is clamped here, so no user of the bounds has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalingBounds {
    min: i32,
    max: i32,
}

impl ScalingBounds {
    /// The bounds `min` to `max`. Raises `max` to 1, then clamps `min` between 0 and `max`.
    pub const fn new(min: i32, max: i32) -> Self {
        let max = if max < 1 { 1 } else { max };
        let min = if min < 0 {
            0
        } else if min > max {
            max
        } else {
            min
        };
        Self { min, max }
    }

    /// The fewest pods, 0 or more.
    pub const fn min(self) -> i32 {
        self.min
    }

    /// The most pods, 1 or more.
    pub const fn max(self) -> i32 {
        self.max
    }

    /// These bounds where the cluster has capacity for `pods` pods only, for example for lack of
    /// GPUs. An autoscaler accepts no maximum of 0, so 1 remains even without capacity.
    pub fn limited_to(self, pods: u32) -> Self {
        Self::new(self.min, self.max.min(i32::try_from(pods).unwrap_or(i32::MAX)))
    }

    /// These bounds with a minimum of at least 1: what a `HorizontalPodAutoscaler` accepts.
    pub fn at_least_one(self) -> Self {
        Self::new(self.min.max(1), self.max)
    }

    /// The value within the bounds that is nearest to `pods`, a fraction.
    pub fn clamp(self, pods: f64) -> f64 {
        pods.min(f64::from(self.max)).max(f64::from(self.min))
    }
}

impl From<&Scaling> for ScalingBounds {
    fn from(scaling: &Scaling) -> Self {
        Self::new(scaling.min, scaling.max)
    }
}

impl From<&ApiScaling> for ScalingBounds {
    fn from(scaling: &ApiScaling) -> Self {
        Self::new(scaling.min, scaling.max)
    }
}

/// The number of pods of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// Exactly this many, 0 or more.
    Fixed(i32),
    /// An autoscaler sets the number between these bounds.
    Scaled(ScalingBounds),
}

impl Replicas {
    pub(super) fn of(replicas: Option<i32>, bounds: Option<ScalingBounds>, default: i32) -> Self {
        match bounds {
            Some(bounds) => Self::Scaled(bounds),
            None => Self::Fixed(replicas.unwrap_or(default).max(0)),
        }
    }

    /// The bounds of a scaled workload.
    pub const fn scaling(self) -> Option<ScalingBounds> {
        match self {
            Self::Fixed(_) => None,
            Self::Scaled(bounds) => Some(bounds),
        }
    }

    /// Most pods at once, including the surge of a rollout.
    pub fn pods_at_most(self) -> u32 {
        let most = match self {
            Self::Fixed(pods) => pods,
            Self::Scaled(bounds) => bounds.max(),
        };
        most.max(0).cast_unsigned() + SURGE
    }

    /// Most pods that scaling may ever request, including the surge; none for a fixed number.
    pub fn bound(self) -> Option<u32> {
        self.scaling().map(|_| self.pods_at_most())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn capacity_lowers_the_maximum_and_with_it_the_minimum() {
        let bounds = ScalingBounds::new(2, 6);
        assert_eq!(bounds.limited_to(9), bounds);
        assert_eq!(bounds.limited_to(4), ScalingBounds::new(2, 4));
        assert_eq!(bounds.limited_to(0), ScalingBounds::new(1, 1));
        assert_eq!(ScalingBounds::new(0, 3).at_least_one(), ScalingBounds::new(1, 3));
    }

    proptest! {
        #[test]
        fn bounds_are_always_in_order(min: i32, max: i32, capacity: u32, pods: f64) {
            let bounds = ScalingBounds::new(min, max);
            for bounds in [bounds, bounds.limited_to(capacity), bounds.at_least_one()] {
                prop_assert!(0 <= bounds.min() && bounds.min() <= bounds.max() && 1 <= bounds.max());
                let clamped = bounds.clamp(pods);
                prop_assert!(clamped >= f64::from(bounds.min()) && clamped <= f64::from(bounds.max()));
            }
        }
    }
}
