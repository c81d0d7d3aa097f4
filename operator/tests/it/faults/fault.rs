//! What can go wrong with a call.

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It is refused with this status; 429 with Retry-After.
    Answer(u16),
    /// It is never answered, whether or not it was done.
    Silence { done: bool },
    /// Its connection breaks, whether or not it was done.
    Dropped { done: bool },
    /// A watch breaks off in the middle of an event.
    Cut,
    /// A watch is told that its resourceVersion is too old.
    Gone,
}

/// A harm to one call, by verb and path.
#[derive(Debug, Clone)]
pub struct Fault {
    pub call: String,
    pub harm: Harm,
    /// How often it strikes; none for ever.
    pub times: Option<usize>,
}

impl Fault {
    pub fn once(call: &str, harm: Harm) -> Self {
        Self { call: call.to_owned(), harm, times: Some(1) }
    }

    pub fn for_ever(call: &str, harm: Harm) -> Self {
        Self { call: call.to_owned(), harm, times: None }
    }

    /// What happens to this call.
    pub fn strike(&mut self, call: &str) -> Option<Harm> {
        if call != self.call {
            return None;
        }
        match &mut self.times {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(self.harm)
            }
            None => Some(self.harm),
        }
    }
}

/// Everything that can go wrong once with a call of this title.
pub fn harms(call: &str) -> Vec<Harm> {
    let mut all = [409, 422, 429, 500].map(Harm::Answer).to_vec();
    all.extend([Harm::Silence { done: false }, Harm::Dropped { done: false }]);
    let verb = call.split(' ').next().unwrap_or_default();
    if verb == "watch" {
        all.extend([Harm::Cut, Harm::Gone]);
    } else if is_write(call) {
        all.extend([Harm::Silence { done: true }, Harm::Dropped { done: true }]);
    }
    all
}

/// Whether a call of this title changes something.
pub fn is_write(call: &str) -> bool {
    !matches!(call.split(' ').next(), Some("get" | "list" | "watch"))
}
