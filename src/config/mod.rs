//! Configuration: one TOML file, the environment, flags; and an answer to "where does this value come from?".
//!
//! * [`Config`] composes the structs that the floors declare beside what they configure. Nothing is configured here.
//! * [`Config::load`] lays the sources over each other (flag over environment over file over default), reads the result into the
//!   structs, asks each struct what is wrong with it, looks at what must fit together, and reports *all* errors that it found.
//! * [`Loaded`] is the result: the values, where each came from, and what looks suspicious. It prints with secrets masked.
//!
//! The promise kept here is **P10**: whatever is wrong is told with file and line (or variable, or flag), key, value and what was
//! expected. No text makes the loader panic.
//!
//! How it works: the sources become one tree whose every node knows its origin (`tree`); a serde deserializer over that tree
//! (`reader`) reports errors with their place in the tree; the key that was wrong is taken out and the reading repeated, until nothing
//! is wrong any more. `keys` asks the types themselves which keys there are.
//!
//! This floor imports the floors that declare configuration; only `cli` imports it.

mod access;
#[cfg(test)]
mod cases;
mod checks;
mod environment;
mod errors;
mod expectation;
mod keys;
mod load;
mod loaded;
mod origin;
mod reader;
mod render;
mod root;
mod secrets;
mod toml_file;
mod tree;

pub use errors::{ConfigError, ConfigErrors};
pub use load::{Flag, Role, Sources};
pub use loaded::{Loaded, Setting};
pub use origin::Origin;
pub use render::RenderFormat;
pub use root::Config;
