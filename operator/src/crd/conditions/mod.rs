//! The conditions and Events of the custom resources: their types, their reasons, and the
//! documentation of each. `docs/reference/` is generated from them.

mod catalogue;
mod condition_type;
mod event_reason;
mod reason;

pub use catalogue::{Documented, PLATFORM, POOL, Row, Statuses, documents};
pub use condition_type::ConditionType;
pub use event_reason::EventReason;
pub use reason::Reason;
