//! Python's regular expressions: `re.findall` over an engine that reads another dialect.
//!
//! Source: "re, Regular expression operations" of Python's library reference. Where the dialects write the same thing
//! differently, a pattern is rewritten; what only one of them has is refused (`\N{..}`, octal escapes) or kept as an
//! extension (`\p{..}`).

use fancy_regex::{Captures, CompileError, Error, Regex};

use super::error::{Failure, fail};
use crate::memory;

/// Bytes of a pattern: compiling one takes much longer than reading it.
const LONGEST: usize = 10_000;

/// A compiled pattern.
pub struct Pattern {
    plain: Regex,
    /// Matches that do not end where the search starts: an empty one there was found before.
    onward: Regex,
}

impl Pattern {
    /// # Errors
    /// A text that is no regular expression of Python.
    pub fn new(text: &str) -> Result<Self, Failure> {
        if text.len() > LONGEST {
            return Err(fail(format!(
                "a pattern of {} bytes is too long: it may have {LONGEST}",
                text.len()
            ))
            .help("search for parts of it one after the other"));
        }
        let refused = |reason: String| {
            fail(format!("`{text}` is no regular expression: {reason}")).help(
                "write a backslash before a special character to mean itself, and strings between backticks",
            )
        };
        let translated = translate(text).map_err(refused)?;
        let compile = |pattern: &str| Regex::new(pattern).map_err(|error| refused(reason(&error)));
        Ok(Self { plain: compile(&translated)?, onward: compile(&format!(r"(?:{translated})(?!\G)"))? })
    }

    /// Every match from left to right, read by `read`: as in Python, an empty one may follow another match.
    ///
    /// # Errors
    /// A search that takes too many steps, more matches than memory holds, or what `read` refuses.
    pub fn find_all<T>(
        &self,
        text: &str,
        read: impl Fn(&Captures<'_, str>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let (mut found, mut from, mut empty) = (Vec::new(), 0, false);
        loop {
            let regex = if empty { &self.onward } else { &self.plain };
            let captures = regex.captures_from_pos(text, from).map_err(|error| {
                fail(format!("the search was given up: {}", reason(&error)))
                    .help("write the pattern with fewer repetitions inside repetitions")
            })?;
            let Some(captures) = captures else { return Ok(found) };
            found.push(read(&captures)?);
            if let Some(full) = memory::limit::over() {
                return Err(full.into());
            }
            let (start, end) = captures.get(0).map_or((from, from), |whole| (whole.start(), whole.end()));
            (from, empty) = (end, start == end);
        }
    }
}

/// What is wrong: the last line of the innermost message.
fn reason(error: &Error) -> String {
    let message = match error {
        Error::CompileError(inner) => match &**inner {
            CompileError::InnerError(inner) => inner.syntax_error().map(ToString::to_string),
            _ => None,
        },
        _ => None,
    };
    let message = message.unwrap_or_else(|| error.to_string());
    let last = message.lines().last().unwrap_or_default();
    let last = last.rsplit(": ").next().unwrap_or(last);
    let mut letters = last.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// The pattern in the engine's dialect, or what Python does not know in it.
fn translate(text: &str) -> Result<String, String> {
    let mut out = String::new();
    // Whether `$` stands for the end of every line, for each open group.
    let mut lines = vec![false];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '\\' => escape(after, false, &mut out)?,
            '[' => class(after, &mut out)?,
            '(' => {
                let inherited = lines.last().copied().unwrap_or(false);
                let (flags, scoped) = flags(after);
                let multiline = flags.map_or(inherited, |flags| set_by(flags, 'm').unwrap_or(inherited));
                match (flags, scoped) {
                    // Flags without a group hold for all that follows in the group around them.
                    (Some(_), false) => {
                        if let Some(around) = lines.last_mut() {
                            *around = multiline;
                        }
                        lines.push(inherited);
                    }
                    _ => lines.push(multiline),
                }
                out.push('(');
                after
            }
            ')' => {
                if lines.len() > 1 {
                    lines.pop();
                }
                out.push(')');
                after
            }
            '$' if lines.last() == Some(&false) => {
                out += r"(?=\n?\z)";
                after
            }
            '{' => {
                let (counts, after) = repetition(after);
                out += &counts;
                after
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    Ok(out)
}

/// The flags in `?ims-x:` or `?i)`, and whether they hold for their own group only.
fn flags(after: &str) -> (Option<&str>, bool) {
    let Some(inside) = after.strip_prefix('?') else { return (None, false) };
    let end = inside.find(|c: char| !c.is_ascii_alphabetic() && c != '-').unwrap_or(inside.len());
    match inside[end..].chars().next() {
        Some(':') => (Some(&inside[..end]), true),
        Some(')') => (Some(&inside[..end]), false),
        _ => (None, false),
    }
}

/// Whether `flags` switch `flag` on or off.
fn set_by(flags: &str, flag: char) -> Option<bool> {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    if on.contains(flag) { Some(true) } else { off.contains(flag).then_some(false) }
}

/// What stands after a `{`: the bounds of a repetition, or a brace that means itself.
fn repetition(after: &str) -> (String, &str) {
    let bounds = after.split_once('}').filter(|(bounds, _)| {
        let (low, high) = bounds.split_once(',').unwrap_or((bounds, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        digits(low) && digits(high) && !bounds.is_empty() && *bounds != ","
    });
    match bounds {
        Some((bounds, after)) if bounds.starts_with(',') => (format!("{{0{bounds}}}"), after),
        Some((bounds, after)) => (format!("{{{bounds}}}"), after),
        None => (r"\{".into(), after),
    }
}

/// What stands after a backslash; the rest of the pattern.
fn escape<'t>(after: &'t str, in_class: bool, out: &mut String) -> Result<&'t str, String> {
    let Some(letter) = after.chars().next() else { return Err("it ends in a backslash".into()) };
    match letter {
        // Letters, digits and marks as Python's `isalnum` has them: combining marks are none.
        'w' if in_class => *out += r"\p{L}\p{N}_",
        'w' => *out += r"[\p{L}\p{N}_]",
        'W' => *out += r"[^\p{L}\p{N}_]",
        's' if in_class => *out += r"\s\x1c-\x1f",
        's' => *out += r"[\s\x1c-\x1f]",
        'S' => *out += r"[^\s\x1c-\x1f]",
        'Z' if !in_class => *out += r"\z",
        'b' if in_class => *out += r"\x08",
        'b' | 'B' | 'A' if !in_class => out.extend(['\\', letter]),
        'd' | 'D' | 'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' | 'u' | 'U' | 'p' | 'P' => {
            out.extend(['\\', letter]);
        }
        '1'..='9' if !in_class => out.extend(['\\', letter]),
        letter if letter.is_ascii_alphanumeric() => return Err(format!("bad escape `\\{letter}`")),
        letter => literal(letter, out),
    }
    Ok(&after[letter.len_utf8()..])
}

/// A set after its `[`; the rest of the pattern. What the engine would read as an operation on sets means itself.
fn class<'t>(after: &'t str, out: &mut String) -> Result<&'t str, String> {
    out.push('[');
    let mut rest = after;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !first) {
            out.push(']');
            return Ok(after);
        }
        first = false;
        let kind = rest;
        rest = member(rest, out)?;
        match rest.strip_prefix('-') {
            // Before the end, a dash means itself, and is the next member.
            Some(after) if !after.starts_with(']') => {
                if is_kind(kind) || is_kind(after) {
                    return Err("bad character range".into());
                }
                out.push('-');
                rest = member(after, out)?;
            }
            _ => {}
        }
    }
}

/// One member of a set; the rest of the pattern.
fn member<'t>(rest: &'t str, out: &mut String) -> Result<&'t str, String> {
    let letter = rest.chars().next().ok_or("unterminated character set")?;
    let after = &rest[letter.len_utf8()..];
    if letter == '\\' {
        return escape(after, true, out);
    }
    literal(letter, out);
    Ok(after)
}

/// Whether a member stands for several characters, so that no range begins or ends with it.
fn is_kind(member: &str) -> bool {
    member
        .strip_prefix('\\')
        .is_some_and(|escape| escape.starts_with(['w', 'W', 'd', 'D', 's', 'S', 'p', 'P']))
}

/// A character that means itself.
fn literal(letter: char, out: &mut String) {
    if letter.is_ascii_punctuation() && !"<>".contains(letter) {
        out.push('\\');
    }
    out.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> Vec<String> {
        let group = |captures: &Captures<'_, str>| {
            let texts = captures.iter().skip(usize::from(captures.len() > 1));
            texts.map(|part| part.map_or("", |part| part.as_str())).collect::<Vec<_>>().join("|")
        };
        Pattern::new(pattern).unwrap().find_all(text, |found| Ok(group(found))).unwrap()
    }

    /// What `re.findall` of Python 3.11 gives; the groups of a match are joined by `|`.
    #[test]
    fn matches_are_pythons() {
        for (pattern, text, matches) in [
            (r"\d+%$", "about 42%\n", &["42%"][..]),
            (r"\d+%$", "42%\n\n", &[]),
            (r"(?m)\w$", "a\nb\n", &["a", "b"]),
            (r"(?m:^.$)|z$", "a\nz\n", &["a", "z"]),
            (r"\n\Z", "a\n", &["\n"]),
            (r"a\Z", "a\n", &[]),
            ("$", "a\n", &["", ""]),
            ("a*", "baa", &["", "aa", ""]),
            ("|a", "aa", &["", "a", "", "a", ""]),
            ("(a)?(b)?", "ab", &["a|b", "|"]),
            ("[a&&b]", "a&b", &["a", "&", "b"]),
            ("[+--]+", "+,-.", &["+,-"]),
            ("[a-c-e]+", "abcd-e", &["abc", "-e"]),
            (r"[^\W\d_]+", "ab1_c", &["ab", "c"]),
            ("[~~]", "a~", &["~"]),
            ("[[a]", "[a]", &["[", "a"]),
            ("[]a]+", "a]]", &["a]]"]),
            ("[a-]+", "a-b", &["a-"]),
            (r"[\w-]+", "one-two, 3", &["one-two", "3"]),
            (r"[^\s]+", "one two", &["one", "two"]),
            ("a{,2}", "aaa", &["aa", "a", ""]),
            ("x{y}", "x{y}", &["x{y}"]),
            (r"\<b\>", "<b>", &["<b>"]),
            (r"(\w)\1", "aabbc", &["a", "b"]),
            (r"(?<=\$)\d+", "$12 13", &["12"]),
            (r"\w+", "हिन्दी", &["ह", "न", "द"]),
            (r"(?i)the", "The tHe", &["The", "tHe"]),
            (r"[\b]", "a\u{8}", &["\u{8}"]),
        ] {
            assert_eq!(found(pattern, text), matches, "{pattern}");
        }
    }

    #[test]
    fn what_python_does_not_know_is_refused() {
        let told = |pattern: &str| Pattern::new(pattern).map(|_| ()).unwrap_err().message;
        assert_eq!(told(r"\h"), r"`\h` is no regular expression: bad escape `\h`");
        assert_eq!(
            told("[a--b]"),
            "`[a--b]` is no regular expression: invalid character class range, the start must be <= the end"
        );
        assert_eq!(told(r"[\w-a]"), r"`[\w-a]` is no regular expression: bad character range");
        assert_eq!(told("[a"), "`[a` is no regular expression: unterminated character set");
        assert_eq!(told("a\\"), r"`a\` is no regular expression: it ends in a backslash");
        assert!(told("(").starts_with("`(` is no regular expression: "));
    }

    #[test]
    fn a_search_without_end_is_given_up() {
        let pattern = Pattern::new(r"(?:(a+)+\1)+$").unwrap();
        let error = pattern.find_all(&format!("{}b", "a".repeat(40)), |_| Ok(())).unwrap_err();
        assert!(error.message.starts_with("the search was given up"), "{}", error.message);
    }
}
