//! The agent from outside: real processes, real sockets, and only what a balancer or an operator could see.
//!
//! What the acceptance cases of the ancestor ask for is named with their number.

mod capacity;
mod detached;
mod ending;
mod exec;
mod failures;
mod harness;
mod runs;
mod status;
mod surface;
