//! Token buckets that all processes of the platform share.

use std::time::Duration;

use redis::Script;

use super::{Cache, CacheAway};

/// What taking tokens came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// So many, at least one and at most what was asked for.
    Granted(u32),
    /// None, and none before this long.
    Wait(Duration),
}

/// The script that takes tokens; one call, so nobody comes in between.
pub(super) fn script() -> Script {
    Script::new(include_str!("../../lua/take.lua"))
}

impl Cache {
    /// Takes up to `tokens` out of the bucket `bucket`, which holds at most `burst` and gains `rate` a second. Whatever the number of callers, no
    /// more than `burst + rate * t` are granted in any time `t`. `rate` is above 0; `tokens` and `burst` are at least 1.
    ///
    /// An error means that Redis did not answer within 50 ms; whether that lets the caller through is the caller's to decide.
    pub async fn take(&self, bucket: &str, tokens: u32, rate: f64, burst: u32) -> Result<Taken, CacheAway> {
        let mut connection = self.connection.clone();
        let mut call = self.take.key(format!("switchyard:bucket:{bucket}"));
        call.arg(tokens.max(1)).arg(rate).arg(burst.max(1));
        let taken = self.ask(call.invoke_async::<i64>(&mut connection)).await?;
        let amount = taken.unsigned_abs();
        Ok(if taken > 0 {
            Taken::Granted(u32::try_from(amount).unwrap_or(tokens))
        } else {
            Taken::Wait(Duration::from_millis(amount))
        })
    }
}
