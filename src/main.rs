//! The program; all of it is in the library's [`runpool::cli`].

fn main() {}
