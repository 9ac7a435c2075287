//! What a line editor asks about a line that is being typed: how its parts look, what may continue it, what a call
//! still wants. An [`Assist`] holds what it needs for that by itself, so that it can be asked while no script runs.
//!
//! Read in this order:
//! - [`look`] the parts of a line for the eye;
//! - [`known`] what can be known of a value without computing it, and [`facts`], which finds it for an expression by the
//!   table and the session's variables, reading [`code`];
//! - [`place`] what stands around the cursor;
//! - [`offer`] what may stand there, in texts by [`texts`] (sites, models, files).

mod code;
mod facts;
mod known;
mod look;
mod offer;
mod place;
mod texts;

use std::ops::Range;

pub use look::Look;
pub use offer::{Offer, Offers};

use super::session::Session;
use facts::Facts;
use place::Place;

/// Bytes before the cursor that are looked at.
const REACH: usize = 8 << 10;

/// Answers for one session, as of its last input.
pub struct Assist(Facts);

impl Assist {
    pub fn new(session: &Session) -> Self {
        let mut facts = Facts::of(session.host());
        facts.learn(session);
        Self(facts)
    }

    /// Takes over what the session's last input changed.
    pub fn learn(&mut self, session: &Session) {
        self.0.learn(session);
    }

    /// The parts of a line that look like something, in their order; blanks and plain names are left out. `in_text` says
    /// that the line begins inside of a text in backticks.
    pub fn looks(&self, line: &str, in_text: bool) -> Vec<(Range<usize>, Look)> {
        look::looks(line, in_text, &|name| self.0.is_function(name))
    }

    /// What may continue `line` at its end, after the lines `before` of the same input.
    pub fn offers(&self, before: &str, line: &str) -> Offers {
        let text = format!("{before}{line}");
        let from = text.len().saturating_sub(REACH);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let offers = offer::offers(&self.0, &text[from..], before.is_empty());
        // In what is replaced there is no line break.
        Offers { start: (offers.start + from).saturating_sub(before.len()), ..offers }
    }

    /// The parameters that the innermost call still wants, where the line ends before one.
    pub fn wanted(&self, line: &str) -> Option<String> {
        let from = line.len().saturating_sub(REACH);
        let place = Place::at_end_of(line.get(from..)?);
        let (frame, last) = (place.call()?, place.code.last()?);
        if !["(", ","].contains(&last) {
            return None;
        }
        let entries = self.0.callees(&place.code, frame.open);
        let entry =
            entries.iter().find(|entry| entry.signature.params.iter().flatten().count() > frame.commas)?;
        let params = entry.signature.params.iter().flatten().skip(frame.commas);
        let params: Vec<_> = params.map(ToString::to_string).collect();
        Some(params.join(", ") + ")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Host, HostOptions};

    pub(super) fn assist(inputs: &[&str]) -> Assist {
        let mut session = Session::with_person(Host::new(HostOptions::default()));
        for input in inputs {
            session.submit(input).unwrap();
        }
        Assist::new(&session)
    }

    #[test]
    fn a_call_says_what_it_still_wants() {
        let assist = assist(&["let m = load();"]);
        for (line, wanted) in [
            ("print(join(", Some("items: array, separator: string)")),
            ("join(xs, ", Some("separator: string)")),
            ("m.trace(\" John\").top(", Some("k: int)")),
            ("m.sweep(p, [a, b],", Some("metric: any)")),
            ("join(xs", None),
            ("join(xs, \", \", ", None),
            ("nothing(", None),
            ("\"join(", None),
            ("if x (", None),
        ] {
            assert_eq!(assist.wanted(line).as_deref(), wanted, "{line}");
        }
    }
}
