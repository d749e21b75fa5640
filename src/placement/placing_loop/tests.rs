//! The promises of the loop, event by event.
