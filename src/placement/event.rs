//! What the placing loop is told, and what it has done: plain data that can be written down and read again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::PlacerChoice;
use super::moment::Moment;
use crate::model::Outcome;
use crate::pool::RunnerPlace;
use crate::protocol::LoadReport;

/// One call, numbered by the driver; never used twice in a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallNumber(pub u64);

/// One function, numbered by the driver: 0, 1, 2 … in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionNumber(pub u32);

impl FunctionNumber {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What placement has to know of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionFacts {
    /// Its name: what it is placed by.
    pub name: String,
    /// Its strategy.
    pub placer: PlacerChoice,
    /// Its share of what comes free while calls wait, against the other functions' weights.
    pub weight: u32,
    /// Whose share it is: functions of one flow share one. The function's own name, or its app's.
    pub flow: String,
    /// The memory of one worker, in bytes.
    pub memory: u64,
    /// How many calls of it one runner may run at once; 0 is no limit but the runner's slots.
    pub concurrency: u32,
    /// Whether runners keep workers of it for the next call. A job that is one process a call has none.
    pub keeps_workers: bool,
}

/// What placement has to know of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerFacts {
    /// What it is known by in all balancers: its homes are worked out from this.
    pub name: String,
    /// Its share, in hundredths of a usual runner's; 0 takes no new call.
    pub weight: u32,
    /// Whether it may be tried.
    pub admission: Admission,
    /// The most calls of ours that may be there at once; 0 is no limit.
    pub max_in_flight: u32,
    /// Its slots, if they are known before it reported.
    pub slots: Option<u32>,
}

/// Whether a runner may be tried, as the pool's health checks see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// Yes.
    #[default]
    Open,
    /// One call at a time, until the pool thinks better of it.
    OneProbe,
    /// No.
    Closed,
}

/// One difference between two states of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunnerChange {
    /// The runner joined, or something about it changed.
    Set {
        /// Which.
        runner: RunnerPlace,
        /// All there is to know of it.
        facts: RunnerFacts,
    },
    /// The runner left.
    Left {
        /// Which.
        runner: RunnerPlace,
    },
}

/// What an answer or a refusal says about its runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerNews {
    /// How full it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReport>,
    /// Functions of which so many idle workers are gone that we had not heard of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_warm: Vec<(FunctionNumber, u32)>,
}

/// How a call began on its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartKind {
    /// A warm worker took it.
    Warm,
    /// A worker was started for it, which took so long.
    Cold(Duration),
    /// The runner did not say: a plain server.
    Unknown,
}

/// How a call's time on its runner ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedHow {
    /// With an answer.
    Ok,
    /// With an error of the runner's.
    Failed,
    /// Its client went away.
    Withdrawn,
    /// For us only: it was to be started, was, and runs on in its slot. When that is free again, only the runner can tell.
    RunsOn,
}

/// Why a runner did not take a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedKind {
    /// No slot is free.
    Busy,
    /// No slot that this function may have is free.
    FunctionBusy,
    /// No memory for another worker.
    Memory,
    /// It will end.
    Draining,
    /// It is not ready.
    Starting,
    /// A plain server's status.
    Status,
    /// No connection.
    Unreachable,
    /// It was closed on our side.
    Closed,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A function was registered, or changed.
    Function {
        /// Its number.
        function: FunctionNumber,
        /// All there is to know of it.
        facts: FunctionFacts,
    },
    /// The pool changed.
    RunnersChanged {
        /// How.
        changes: Vec<RunnerChange>,
    },
    /// The home order of the runners as they are now was made (see [`Homes`](super::homes::Homes)).
    HomesMade,
    /// A call came.
    Arrived {
        /// Its number.
        call: CallNumber,
        /// Its function.
        function: FunctionNumber,
        /// A stickiness hint's hash, which joins the function in the choice of homes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<u64>,
        /// When the placer timeout is over.
        give_up_at: Moment,
        /// When the call itself must have ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Moment>,
        /// Bytes that the call holds while it waits.
        bytes: u64,
    },
    /// A runner refused a call: it did not run there.
    Refused {
        /// Which call.
        call: CallNumber,
        /// Why.
        why: RefusedKind,
        /// When to come back, if it said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<Duration>,
        /// What else it said.
        #[serde(default)]
        news: RunnerNews,
    },
    /// The head of the answer came.
    Committed {
        /// Of which call.
        call: CallNumber,
        /// How the call began there.
        start: StartKind,
        /// Of an answer that still comes: when its runner has ended the call at the latest, whether or not we have read it all. `None` if
        /// that is not known, or the answer is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runs_until: Option<Moment>,
        /// What the answer says.
        #[serde(default)]
        news: RunnerNews,
    },
    /// A call that was being tried or running is over, and so is its hold on a slot.
    Ended {
        /// Which call.
        call: CallNumber,
        /// How.
        how: EndedHow,
        /// What its end says.
        #[serde(default)]
        news: RunnerNews,
    },
    /// A call's client went away, or the call cannot be placed for a reason of the driver's.
    ClientGone {
        /// Which call.
        call: CallNumber,
    },
    /// A runner told its whole state.
    Reported {
        /// Which runner.
        runner: RunnerPlace,
        /// Calls in its slots.
        in_flight: u32,
        /// Its slots.
        slots: u32,
        /// Idle workers by function; functions that are not listed have none.
        warm: Vec<(FunctionNumber, u32)>,
    },
    /// A runner keeps one slot for this balancer, for a while.
    Room {
        /// Which runner.
        runner: RunnerPlace,
    },
    /// The question of [`Step::AskRoom`] ended without a slot.
    NoRoom {
        /// Which runner.
        runner: RunnerPlace,
        /// When it makes sense to ask again.
        again_after: Duration,
    },
    /// A probe was answered.
    Probed {
        /// By which runner.
        runner: RunnerPlace,
        /// Calls in its slots.
        in_flight: u32,
        /// What a call takes there at that load.
        latency: Duration,
    },
    /// A probe was not answered.
    ProbeFailed {
        /// By which runner.
        runner: RunnerPlace,
    },
    /// [`PlacingLoop::next_timer`](super::PlacingLoop::next_timer) has come.
    Timer,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Try this call on this runner. Its slot is accounted for.
    Try {
        /// Which call.
        call: CallNumber,
        /// Which runner.
        runner: RunnerPlace,
        /// The attempt's number, from 1.
        attempt: u32,
    },
    /// The call waits; another step for it will come.
    Wait {
        /// Which call.
        call: CallNumber,
    },
    /// The call is not placed.
    GiveUp {
        /// Which call.
        call: CallNumber,
        /// Why.
        why: GaveUp,
        /// When a new call makes sense, worked out of how fast the queue drains.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<Duration>,
    },
    /// Ask this runner to say when it has a slot. Not asked again before the answer.
    AskRoom {
        /// Which runner.
        runner: RunnerPlace,
    },
    /// Probe this runner's load.
    Probe {
        /// Which runner.
        runner: RunnerPlace,
    },
}

/// Why a call was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GaveUp {
    /// The placer timeout was over, and there was no runner.
    NoRunner,
    /// The placer timeout was over.
    PlacerTimeout,
    /// The call's deadline passed.
    DeadlineExceeded,
    /// The call's deadline would have passed before its turn came.
    DeadlineUnreachable,
    /// Too many calls wait, or too many bytes.
    QueueFull,
    /// The placer rejected it.
    Rejected,
}

impl GaveUp {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::NoRunner, Self::PlacerTimeout, Self::DeadlineExceeded, Self::DeadlineUnreachable, Self::QueueFull, Self::Rejected];

    /// How a call ends that was given up for this.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::NoRunner => Outcome::NoRunner,
            Self::PlacerTimeout => Outcome::PlacerTimeout,
            Self::DeadlineExceeded => Outcome::DeadlineExceeded,
            Self::DeadlineUnreachable | Self::QueueFull | Self::Rejected => Outcome::Overloaded,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRunner => "no-runner",
            Self::PlacerTimeout => "placer-timeout",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::DeadlineUnreachable => "deadline-unreachable",
            Self::QueueFull => "queue-full",
            Self::Rejected => "rejected",
        }
    }
}
