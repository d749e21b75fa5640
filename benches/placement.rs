//! What one decision costs.

fn main() {
    divan::main();
}
