//! Which of two models answers a tenant.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use switchyard_jobs::{model::TenantId, resilience::Breaker};

use crate::engine::Classify;

/// A model, and what leaves it alone after it failed several chunks in a row.
#[derive(Clone)]
pub struct Variant {
    pub model: Arc<dyn Classify>,
    pub breaker: Breaker,
}

/// A model, and perhaps another one that answers a part of the tenants.
pub struct Variants {
    stable: Variant,
    candidate: Option<(Variant, u8)>,
}

impl Variants {
    /// One model for everyone.
    pub const fn one(stable: Variant) -> Self {
        Self { stable, candidate: None }
    }

    /// `candidate` for `percent` of the tenants, always the same ones; a larger part holds the smaller ones.
    pub const fn two(stable: Variant, candidate: Variant, percent: u8) -> Self {
        Self { stable, candidate: Some((candidate, percent)) }
    }

    /// The models that may answer a tenant, in the order in which they are asked: a candidate that fails is stood in for by the stable one.
    pub fn of(&self, tenant: TenantId) -> Vec<&Variant> {
        match &self.candidate {
            Some((candidate, percent)) if place(tenant) < *percent => vec![candidate, &self.stable],
            _ => vec![&self.stable],
        }
    }

    /// Whether a variant is the candidate.
    pub fn is_candidate(&self, variant: &Variant) -> bool {
        self.candidate.as_ref().is_some_and(|(candidate, _)| Arc::ptr_eq(&candidate.model, &variant.model))
    }
}

/// A tenant's place among a hundred, by the hash of its id alone: the same in every process.
fn place(tenant: TenantId) -> u8 {
    let digest = Sha256::digest(tenant.0.as_bytes());
    let number = digest.iter().take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    u8::try_from(number % 100).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn places_are_spread_evenly_and_never_change() {
        let mut held = [0; 100];
        for number in 0..100_000u128 {
            held[usize::from(place(TenantId(Uuid::from_u128(number))))] += 1;
        }
        assert!(held.iter().all(|count| (850..1150).contains(count)), "{held:?}");
        assert_eq!(place(TenantId(Uuid::from_u128(7))), place(TenantId(Uuid::from_u128(7))));
    }
}
