//! Size and life of runners. In this form: a fixed number of local runner processes, which `runpool up` starts.
//!
//! * [`LocalFleet`] keeps as many runners alive as it is told, publishes where they listen, and leaves none behind when it ends.
//! * [`RunnerLife`] is the life of one runner as a state machine: time and events go in, what to do comes out. The driver does it.
//! * [`Announcement`] is the line by which a runner says that it listens, and where.
//!
//! Promises: a runner that dies is started anew, as a new incarnation, soon at first and more slowly while it keeps dying; after
//! [`LocalFleet::end`] no process of the fleet is left; and runners do not outlive a fleet that was killed, because each ends when its
//! standard input does.
//!
//! This floor starts processes and knows nothing of calls: it imports `model` only. Who places calls on these runners is not its business.

mod announcement;
mod config;
mod driver;
mod life;
mod local_fleet;

pub use announcement::{Announcement, AnnouncementError};
pub use config::FleetConfig;
pub use life::{Action, Event, RunnerLife, Timing};
pub use local_fleet::{LocalFleet, LocalRunner, RunnerCommand};
