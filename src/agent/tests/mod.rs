//! The agent from outside: real processes, real sockets, and only what a balancer or an operator could see.
//!
//! What the acceptance cases of the ancestor ask for is named with their number.

mod capacity;
mod detached;
mod ending;
mod exec;
mod failures;
mod harness;
mod news;
mod room;
mod runs;
mod sequence;
mod status;
mod surface;
