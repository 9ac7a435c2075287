//! What the user can do about an error: every error of ours says it in the same way.

/// An error that knows its cure.
pub trait Help: std::error::Error {
    /// An action, with the user's own text in it; `None` where there is nothing to add to the message.
    fn help(&self) -> Option<String>;
}
