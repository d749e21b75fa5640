//! Files that change while the program runs: lists of runners, certificates.
//!
//! [`Changes`] says when it is worth reading them again, and nothing about what is in them. It imports no other floor.

mod changes;

pub use changes::Changes;
