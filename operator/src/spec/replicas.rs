//! How many pods a workload has. Pure.

use crate::spec::defaults::SURGE;

/// How many pods there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    Fixed(i32),
    /// Something else scales them between these bounds.
    Scaled {
        min: i32,
        max: i32,
    },
}

impl Replicas {
    pub(super) fn of(replicas: Option<i32>, bounds: Option<(i32, i32)>, default: i32) -> Self {
        match bounds {
            Some((min, max)) => Self::Scaled { min, max },
            None => Self::Fixed(replicas.unwrap_or(default).max(0)),
        }
    }

    /// Most pods at once, with what a rollout adds.
    pub fn pods_at_most(self) -> u32 {
        let (Self::Fixed(most) | Self::Scaled { max: most, .. }) = self;
        most.max(0).cast_unsigned() + SURGE
    }

    /// Most pods that scaling may ask for, with what a rollout adds.
    pub fn bound(self) -> Option<u32> {
        matches!(self, Self::Scaled { .. }).then(|| self.pods_at_most())
    }
}
