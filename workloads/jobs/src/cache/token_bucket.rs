//! Token buckets (<https://en.wikipedia.org/wiki/Token_bucket>) that all processes of a platform
//! share.

use std::{sync::LazyLock, time::Duration};

use redis::Script;

use super::client::{Cache, CacheUnavailable};

/// Runs in Redis as one atomic call.
static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../lua/token_bucket.lua")));

/// The outcome of [`Cache::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// So many tokens: at least one, at most as many as were asked for.
    Granted(u32),
    /// No token now; the next is available after this time.
    Wait(Duration),
}

impl Cache {
    /// Takes up to `tokens` out of the bucket named `bucket`.
    ///
    /// The bucket holds at most `burst` tokens and gains `rate` a second. In any period of `t`
    /// seconds it grants at most `burst + rate * t` tokens, whatever the number of callers. `rate`
    /// is above 0; `tokens` and `burst` are at least 1.
    ///
    /// # Errors
    /// [`CacheUnavailable`] if Redis did not answer within 50 ms. The caller decides whether to let
    /// the request through.
    pub async fn take(&self, bucket: &str, tokens: u32, rate: f64, burst: u32) -> Result<Taken, CacheUnavailable> {
        let mut connection = self.connection.clone();
        let mut call = TAKE.key(format!("switchyard:bucket:{bucket}"));
        call.arg(tokens.max(1)).arg(rate).arg(burst.max(1));
        let taken = self.call_guarded(call.invoke_async::<i64>(&mut connection)).await?;
        let amount = taken.unsigned_abs();
        Ok(if taken > 0 {
            Taken::Granted(u32::try_from(amount).unwrap_or(tokens))
        } else {
            Taken::Wait(Duration::from_millis(amount))
        })
    }
}
