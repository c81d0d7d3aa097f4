//! A tenant of the reference, with its ledger.

use std::collections::BTreeMap;

use switchyard_contract::Tier;

use super::job::Number;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Grant,
    Charge,
    Refund,
}

/// An entry of a tenant's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub reason: Reason,
    pub amount: i64,
    /// The analysis and its round; a grant has none.
    pub of: Option<(Number, i32)>,
}

/// The answer stored under an idempotency key.
#[derive(Debug, Clone)]
pub struct Answer {
    pub request: (String, bool),
    pub job: Number,
    pub balance: i64,
}

#[derive(Debug, Clone)]
pub struct Tenant {
    pub tier: Tier,
    pub credits: i64,
    pub running: u32,
    pub today: u32,
    pub discovered_today: u32,
    pub ledger: Vec<Entry>,
    pub answers: BTreeMap<u8, Answer>,
}

impl Tenant {
    pub fn new(tier: Tier, credits: i64) -> Self {
        let mut tenant = Self {
            tier,
            credits: 0,
            running: 0,
            today: 0,
            discovered_today: 0,
            ledger: Vec::new(),
            answers: BTreeMap::new(),
        };
        tenant.add_entry(Reason::Grant, credits, None);
        tenant
    }

    pub fn add_entry(&mut self, reason: Reason, amount: i64, of: Option<(Number, i32)>) {
        self.credits += amount;
        self.ledger.push(Entry { reason, amount, of });
    }
}
