//! Tiers of tenants and their limits.

use serde::{Deserialize, Serialize};

use crate::{lane::Lane, name::names};

names! {
    /// The tier of a tenant.
    Tier, "tier", {
        Free = "free",
        Standard = "standard",
        Premium = "premium",
        Enterprise = "enterprise",
    }
}

/// Limits, price and lane of one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierLimits {
    /// Analyses that may be unfinished at once.
    pub concurrent: u32,
    /// Analyses accepted per UTC day; `None` means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// Price of one analysis in credits.
    pub price: u32,
    /// Lane of this tier's analyses.
    pub lane: Lane,
}

/// The limits of the four tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiers {
    pub free: TierLimits,
    pub standard: TierLimits,
    pub premium: TierLimits,
    pub enterprise: TierLimits,
}

impl Tiers {
    /// The limits of `tier`.
    pub const fn get(&self, tier: Tier) -> &TierLimits {
        match tier {
            Tier::Free => &self.free,
            Tier::Standard => &self.standard,
            Tier::Premium => &self.premium,
            Tier::Enterprise => &self.enterprise,
        }
    }
}

impl Default for Tiers {
    /// The documented defaults. A higher tier pays more for one analysis and waits in a faster
    /// lane.
    fn default() -> Self {
        let tier = |concurrent, daily, price, lane| TierLimits { concurrent, daily, price, lane };
        Self {
            free: tier(2, Some(50), 1, Lane::Low),
            standard: tier(5, Some(500), 2, Lane::Normal),
            premium: tier(10, Some(2000), 3, Lane::High),
            enterprise: tier(20, None, 5, Lane::Critical),
        }
    }
}
