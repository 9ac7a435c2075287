//! Script values inside native ones: dropped one after the other, however deep they lie in each other.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    /// What waits to be dropped while this thread drops something held; none while it does not.
    static WAITING: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// A closure or an array of a script that a native value keeps: a patch, a metric, a loop. Closures may keep such values
/// in turn, a million in a row, and the stack has no room to drop them inside each other.
#[derive(Clone, Debug)]
pub struct Held<T: 'static>(Option<T>);

impl<T> Held<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value; there always is one until it is dropped.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let Some(value) = self.0.take() else { return };
        let first = WAITING.with_borrow_mut(|waiting| match waiting {
            Some(waiting) => {
                waiting.push(Box::new(value));
                None
            }
            None => {
                *waiting = Some(Vec::new());
                Some(value)
            }
        });
        let Some(first) = first else { return };
        drop(first);
        while let Some(next) = WAITING.with_borrow_mut(|waiting| waiting.as_mut().and_then(Vec::pop)) {
            drop(next);
        }
        WAITING.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Link {
        _next: Option<Box<Held<Link>>>,
    }

    #[test]
    fn a_long_chain_is_dropped_on_a_short_stack() {
        let chain = || {
            let longer = |link: Link, _| Link { _next: Some(Box::new(Held::new(link))) };
            let long = (0..1_000_000).fold(Link { _next: None }, longer);
            drop(Held::new(long));
        };
        std::thread::Builder::new().stack_size(256 << 10).spawn(chain).unwrap().join().unwrap();
    }
}
