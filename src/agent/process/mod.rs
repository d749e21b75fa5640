//! Processes of functions: how they are started, watched, killed and proved dead.
//!
//! * [`Spawner`] starts them, each as the leader of a process group of its own, on a thread that lives as long as the agent.
//! * [`Process`] is a handle on one: kill it, wait for its end. Its guard kills the rest of the group when the leader ends, then
//!   reaps the leader, in this order, so that a group id is never used after the kernel could have given it to somebody else.
//! * [`warden`] is what stays behind if the agent is killed: it kills what the agent could not.
//! * [`FunctionLog`] carries what functions write to the program's log.
//!
//! The promise: no process of a function outlives its agent, whichever way the agent ends. Three nets hold it, each for what the one
//! before lets through: the kernel's parent-death signal (leaders), the warden's list of groups (their children), and the
//! warden's search for the mark [`INCARNATION_VARIABLE`] in the environment (whatever left its group).
//!
//! This room knows no HTTP and no functions' contract; it imports `model` only.

mod group;
mod keeper;
mod output;
mod resident;
mod spawn;
mod sweep;
pub(crate) mod warden;

pub(crate) use group::{Exit, Groups, Process};
pub(crate) use keeper::keep_warden;
pub(crate) use output::{FunctionLog, Stream, log_lines};
pub(crate) use resident::resident_bytes;
pub(crate) use spawn::{Launch, LaunchError, Parts, Spawner, StandardInput};
pub(crate) use sweep::kill_marked;
pub use warden::{WardenCommand, run_warden};

/// The environment variable in every process of a function that names the agent's incarnation.
pub const INCARNATION_VARIABLE: &str = "RUNPOOL_INCARNATION";
