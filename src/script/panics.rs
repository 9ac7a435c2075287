//! The last resort against faults of the program: a panic in a native function becomes an error of the script.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use super::error::{Failure, fail};

/// Where the last panic was.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics quiet: whoever catches one says what it was. Call once, at the start of the program.
pub fn install() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
}

/// What `work` gives, or its panic as a failure.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    // What a panic leaves half done is dropped, or shared only through locks that are never held half done.
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| failure(panic.as_ref()))
}

fn failure(panic: &(dyn Any + Send)) -> Failure {
    let message = panic.downcast_ref::<&str>().map(ToString::to_string);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    let message = message.unwrap_or_else(|| "a panic without a message".into());
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let place = place.map_or(String::new(), |place| format!(" ({place})"));
    fail(format!("internal error: {message}{place}"))
        .help("this is a fault of patchscript and not of the script: please report it, with the script")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let failure = caught(|| -> u8 { panic!("no {}", "way") }).unwrap_err();
        assert!(failure.message.starts_with("internal error: no way"), "{}", failure.message);
        assert_eq!(caught(|| 1), Ok(1));
    }
}
