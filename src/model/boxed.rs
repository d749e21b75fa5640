//! Making large values where they stay.

/// A value on the heap. `Box::new` makes it on the stack, and copies all of it; of a future that was not begun, nearly all is room for later.
#[inline(always)]
pub fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}
