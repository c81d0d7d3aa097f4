//! The documentation of each problem type, from which `docs/reference/problem-types.md` is
//! generated.

use crate::http::problem::ProblemType;

impl ProblemType {
    /// When the API answers with it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Unauthenticated => {
                "The request has no valid key. Keys of tenants and the admin key are not the same."
            }
            Self::InsufficientCredits => {
                "The tenant's balance is below the price of the analysis, or below the amount to withdraw."
            }
            Self::InvalidRequest => {
                "A member of the body, a query parameter or a header is invalid. `errors` names each with its reason."
            }
            Self::NotFound => "The path or the object does not exist, or the object belongs to another tenant.",
            Self::MethodNotAllowed => "The path exists, and not with this method.",
            Self::IdempotencyConflict => "The `Idempotency-Key` belongs to an earlier request with another body.",
            Self::NotFinished => "The result of a job was requested before the job has ended.",
            Self::NoResult => "The job has ended without a result: it is dead or cancelled.",
            Self::AlreadyFinished => "The job to cancel has ended.",
            Self::NotDead => "The job to replay or to discard is not dead.",
            Self::ConcurrentLimit => "The tenant has as many unfinished analyses as its tier allows.",
            Self::DailyLimit => "The tenant has requested as many analyses in this UTC day as its tier allows.",
            Self::LaneFull => "As many analyses wait in the lane as its capacity allows. Nothing was charged.",
            Self::RateLimited => {
                "The tenant makes more calls than its rate allows, or has too many open event streams. Many calls with \
                 unknown keys have the same effect."
            }
            Self::Internal => "The request failed. The server's log has the cause under the request's `X-Request-Id`.",
            Self::Unavailable => {
                "A service that the API needs does not answer, the request timed out, or the API is overloaded."
            }
        }
    }

    /// What the caller does.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unauthenticated => "Send `Authorization: Bearer KEY` with a valid key.",
            Self::InsufficientCredits => "Grant credits to the tenant.",
            Self::InvalidRequest => "Correct the request. A retry of the same request fails again.",
            Self::NotFound => "Check the identifier. `/openapi.json` lists all paths.",
            Self::MethodNotAllowed => "Use a method of `/openapi.json`.",
            Self::IdempotencyConflict => "Use a new key for a new request.",
            Self::NotFinished => "Wait for the job: watch its events, or ask for its state.",
            Self::NoResult => "Read the job. `error` names the cause. Request a new analysis.",
            Self::AlreadyFinished => "Nothing is left to cancel. Read the job.",
            Self::NotDead => "Read the job. Another operator may have replayed it.",
            Self::ConcurrentLimit => "Wait for an analysis to end, or cancel one.",
            Self::DailyLimit => "Wait until the next UTC day, or raise the tenant's tier.",
            Self::LaneFull | Self::RateLimited => "Try again after `Retry-After`.",
            Self::Internal => "Report it to the operator of the platform with the `X-Request-Id`.",
            Self::Unavailable => {
                "Try again after `Retry-After`, with the same `Idempotency-Key` if the request had one."
            }
        }
    }

    /// What `Retry-After` states; empty if the response has none.
    pub const fn retry_after(self) -> &'static str {
        match self {
            Self::ConcurrentLimit => "the time after which one of the tenant's analyses is expected to end",
            Self::DailyLimit => "the time until the next UTC day",
            Self::LaneFull => "the time after which the lane is expected to have room",
            Self::RateLimited => "the time until the next call is allowed",
            Self::Unavailable => "the time at which the API tries the service again, or some seconds",
            _ => "",
        }
    }

    /// Members of the problem document in addition to those of every problem.
    pub const fn members(self) -> &'static [&'static str] {
        match self {
            Self::InsufficientCredits => &["balance", "price"],
            Self::InvalidRequest => &["errors"],
            Self::NotFinished | Self::NoResult | Self::AlreadyFinished | Self::NotDead => &["state"],
            Self::ConcurrentLimit => &["limit"],
            Self::DailyLimit => &["limit", "resets_at"],
            Self::LaneFull => &["lane"],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_explained_where_a_response_has_it() {
        for problem in ProblemType::ALL {
            assert_eq!(problem.has_retry_after(), !problem.retry_after().is_empty(), "{}", problem.slug());
        }
    }
}
