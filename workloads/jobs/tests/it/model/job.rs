//! A job of the reference.

use switchyard_contract::{Kind, Lane};
use switchyard_jobs::model::{JobState, Origin};

/// A job, numbered in the order of creation.
pub type Number = usize;
/// A claim, numbered in the order of claims. It stands for the run token.
pub type ClaimNumber = usize;

/// A job's turn: the delay in seconds, then the step that created the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(pub u64, pub u64);

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the table")]
pub struct Job {
    pub tenant: usize,
    pub parent: Option<Number>,
    pub ordinal: usize,
    pub required: bool,
    pub origin: Origin,
    pub kind: Kind,
    pub lane: Lane,
    pub state: JobState,
    pub username: String,
    pub price: i64,
    pub round: i32,
    pub attempt: i32,
    pub failures: i32,
    pub progress: i16,
    pub started: bool,
    /// Whether it has spawned children. The next claim is then a join.
    pub spawned: bool,
    pub children: i16,
    pub open: i16,
    pub held: Option<ClaimNumber>,
    /// The step in which its lease expired.
    pub expired: Option<u64>,
    /// Whether its next attempt is due.
    pub due: bool,
    pub turn: Turn,
    pub leader: Option<Number>,
    pub discarded: bool,
    pub output: bool,
    /// All events after the first, which every job has.
    pub events: Vec<(&'static str, i16)>,
}

impl Job {
    /// A job before its first claim.
    pub fn queued(tenant: usize, origin: Origin, kind: Kind, lane: Lane, username: &str, turn: Turn) -> Self {
        Self {
            tenant,
            parent: None,
            ordinal: 0,
            required: true,
            origin,
            kind,
            lane,
            state: JobState::Queued,
            username: username.to_owned(),
            price: 0,
            round: 0,
            attempt: 0,
            failures: 0,
            progress: 0,
            started: false,
            spawned: false,
            children: 0,
            open: 0,
            held: None,
            expired: None,
            due: true,
            turn,
            leader: None,
            discarded: false,
            output: false,
            events: Vec::new(),
        }
    }

    pub fn ended(&self) -> bool {
        self.state.is_terminal()
    }

    /// Whether it shares the pipeline of another analysis. A follower is never claimed.
    pub fn follows(&self) -> bool {
        self.leader.is_some() && !self.ended()
    }

    /// Whether it counts against its lane's `maxRunning`.
    pub fn occupies_lane(&self) -> bool {
        matches!(self.state, JobState::Running | JobState::Waiting) && !self.follows()
    }
}

/// Position of a lane in the order of priority, highest first.
pub fn lane_rank(lane: Lane) -> usize {
    Lane::ALL.iter().position(|other| *other == lane).expect("`ALL` has every lane")
}
