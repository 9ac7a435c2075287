//! Running lines of script in tests of bindings.

use crate::script::session::Reply;
use crate::script::{Error, Host, HostOptions, Session};

/// What the REPL prints for `code`, or `message; help` of its error. Files go to `options.out`.
pub fn run(code: &str, options: HostOptions) -> String {
    match Session::new(Host::new(options)).submit(code) {
        Ok(Reply::Text(text)) => text,
        Ok(_) => String::new(),
        Err(Error::Unusable(diagnostic) | Error::Failed(diagnostic)) => match diagnostic.help {
            Some(help) => format!("{}; {help}", diagnostic.message),
            None => diagnostic.message,
        },
        Err(error) => error.to_string(),
    }
}

/// Checks what each line of script prints, or how it is refused.
pub fn check(cases: &[(&str, &str)]) {
    for (code, expected) in cases {
        assert_eq!(run(code, HostOptions::default()), *expected, "{code}");
    }
}
