//! Placement under a virtual clock.
