//! Canary of a model version: a candidate answers a share of the tenants.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use switchyard_jobs::{model::TenantId, resilience::Breaker};

use crate::engine::Classifier;

/// A model with its circuit breaker.
#[derive(Clone)]
pub struct Variant {
    pub model: Arc<dyn Classifier>,
    pub breaker: Breaker,
}

/// The stable model, and optionally a candidate.
pub struct Variants {
    stable: Variant,
    /// The candidate, and its share of the tenants in percent.
    candidate: Option<(Variant, u8)>,
}

impl Variants {
    /// The same model for all tenants.
    pub const fn single(stable: Variant) -> Self {
        Self { stable, candidate: None }
    }

    /// `candidate` for `percent` of the tenants. The choice depends only on the tenant: it is
    /// stable, and a larger share includes the tenants of a smaller one.
    pub const fn with_candidate(stable: Variant, candidate: Variant, percent: u8) -> Self {
        Self { stable, candidate: Some((candidate, percent)) }
    }

    /// The models for a tenant, in the order of preference. The stable model is always the last
    /// one, as the fallback of the candidate.
    pub fn for_tenant(&self, tenant: TenantId) -> Vec<&Variant> {
        match &self.candidate {
            Some((candidate, percent)) if percentile(tenant) < *percent => vec![candidate, &self.stable],
            _ => vec![&self.stable],
        }
    }

    /// Whether a variant is the candidate.
    pub fn is_candidate(&self, variant: &Variant) -> bool {
        self.candidate.as_ref().is_some_and(|(candidate, _)| Arc::ptr_eq(&candidate.model, &variant.model))
    }
}

/// A number from 0 to 99 by the hash of the tenant's id, the same in every process.
fn percentile(tenant: TenantId) -> u8 {
    let digest = Sha256::digest(tenant.0.as_bytes());
    let number = digest.iter().take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    u8::try_from(number % 100).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn percentiles_are_uniform_and_stable() {
        let mut counts = [0; 100];
        for number in 0..100_000u128 {
            counts[usize::from(percentile(TenantId(Uuid::from_u128(number))))] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(percentile(TenantId(Uuid::from_u128(7))), percentile(TenantId(Uuid::from_u128(7))));
    }
}
