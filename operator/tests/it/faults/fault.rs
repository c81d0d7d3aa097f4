//! Faults that the fake API server injects into calls.

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// This status, with Retry-After for 429.
    Status(u16),
    /// No response, whether or not the call is executed.
    NoResponse { executed: bool },
    /// A reset connection, whether or not the call is executed.
    ConnectionReset { executed: bool },
    /// A watch ends in the middle of an event.
    TruncatedWatch,
    /// A watch gets status 410: its resourceVersion is too old.
    ExpiredWatch,
}

/// A fault of one call.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Verb and path.
    pub call: String,
    pub kind: FaultKind,
    /// How many calls fail. `None` means all.
    pub times: Option<usize>,
}

impl Fault {
    pub fn once(call: &str, kind: FaultKind) -> Self {
        Self { call: call.to_owned(), kind, times: Some(1) }
    }

    pub fn permanent(call: &str, kind: FaultKind) -> Self {
        Self { call: call.to_owned(), kind, times: None }
    }

    /// How this call fails, if it does.
    pub fn inject(&mut self, call: &str) -> Option<FaultKind> {
        if call != self.call {
            return None;
        }
        match &mut self.times {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(self.kind)
            }
            None => Some(self.kind),
        }
    }
}

/// Every way in which a call with this title can fail once.
pub fn fault_kinds(call: &str) -> Vec<FaultKind> {
    let mut all = [409, 422, 429, 500].map(FaultKind::Status).to_vec();
    all.extend([FaultKind::NoResponse { executed: false }, FaultKind::ConnectionReset { executed: false }]);
    let verb = call.split(' ').next().unwrap_or_default();
    if verb == "watch" {
        all.extend([FaultKind::TruncatedWatch, FaultKind::ExpiredWatch]);
    } else if is_write(call) {
        all.extend([FaultKind::NoResponse { executed: true }, FaultKind::ConnectionReset { executed: true }]);
    }
    all
}

/// Whether a call with this title is a write.
pub fn is_write(call: &str) -> bool {
    !matches!(call.split(' ').next(), Some("get" | "list" | "watch"))
}
