//! What Python's `str` knows of letters: `isdigit`, `title` and their like.

use std::sync::LazyLock;

use fancy_regex::Regex;

/// Digits that are no decimal digits (Unicode's `Numeric_Type=Digit`), by `str.isdigit` of Python 3.11.
const OTHER_DIGITS: &str = r"[\u{b2}\u{b3}\u{b9}\u{1369}-\u{1371}\u{19da}\u{2070}\u{2074}-\u{2079}\u{2080}-\u{2089}\u{2460}-\u{2468}\u{2474}-\u{247c}\u{2488}-\u{2490}\u{24ea}\u{24f5}-\u{24fd}\u{24ff}\u{2776}-\u{277e}\u{2780}-\u{2788}\u{278a}-\u{2792}\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]";
/// Numbers among the letters, by `str.isnumeric` of Python 3.11.
const LETTERS_THAT_COUNT: &str = "㐅㒃㠪㭍一七万三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百肆萬貮貳贰阡陆陌陸零參拾兩零六陸什𠀁𠁤𠃢𠄡𠤪𠦃𠦌𠦜𠫪𠫽𠬙𢎐𢦘𣬛𦉭廾";

fn is(pattern: &'static str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file")
}

/// A class of one character never gives up.
fn has(class: &Regex, c: char) -> bool {
    class.is_match(c.encode_utf8(&mut [0; 4])).unwrap_or(false)
}

fn decimal(c: char) -> bool {
    static DECIMAL: LazyLock<Regex> = LazyLock::new(|| is(r"\p{Nd}"));
    c.is_ascii_digit() || !c.is_ascii() && has(&DECIMAL, c)
}

fn digit(c: char) -> bool {
    static DIGIT: LazyLock<Regex> = LazyLock::new(|| is(OTHER_DIGITS));
    decimal(c) || !c.is_ascii() && has(&DIGIT, c)
}

fn numeric(c: char) -> bool {
    c.is_numeric() || LETTERS_THAT_COUNT.contains(c)
}

fn letter(c: char) -> bool {
    static LETTER: LazyLock<Regex> = LazyLock::new(|| is(r"\p{L}"));
    c.is_ascii_alphabetic() || !c.is_ascii() && has(&LETTER, c)
}

fn titled(c: char) -> bool {
    static TITLED: LazyLock<Regex> = LazyLock::new(|| is(r"\p{Lt}"));
    !c.is_ascii() && has(&TITLED, c)
}

fn cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || titled(c)
}

/// Python's white space: Unicode's, and the separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// A method that asks something of a whole text.
pub fn test(method: &str) -> Option<fn(&str) -> bool> {
    fn all(s: &str, is: fn(char) -> bool) -> bool {
        !s.is_empty() && s.chars().all(is)
    }
    Some(match method {
        "isdecimal" => |s| all(s, decimal),
        "isdigit" => |s| all(s, digit),
        "isnumeric" => |s| all(s, numeric),
        "isalpha" => |s| all(s, letter),
        "isalnum" => |s| all(s, |c| letter(c) || digit(c) || numeric(c)),
        "isspace" => |s| all(s, is_space),
        "isascii" => str::is_ascii,
        "islower" => {
            |s| s.chars().any(char::is_lowercase) && !s.chars().any(|c| c.is_uppercase() || titled(c))
        }
        "isupper" => {
            |s| s.chars().any(char::is_uppercase) && !s.chars().any(|c| c.is_lowercase() || titled(c))
        }
        "istitle" => is_title,
        _ => return None,
    })
}

/// A method that respells a text.
pub fn conversion(method: &str) -> Option<fn(&str) -> String> {
    Some(match method {
        "upper" => str::to_uppercase,
        "lower" => str::to_lowercase,
        "casefold" => |s| s.to_lowercase().replace('ß', "ss").replace('ς', "σ"),
        "swapcase" => swap_case,
        "capitalize" => |s| {
            let mut chars = s.chars();
            let first = chars.next().map_or(String::new(), title_case);
            format!("{first}{}", chars.as_str().to_lowercase())
        },
        "title" => title,
        _ => return None,
    })
}

/// A letter at the beginning of a word.
fn title_case(c: char) -> String {
    match c {
        'Ǆ'..='ǆ' => "ǅ".into(),
        'Ǉ'..='ǉ' => "ǈ".into(),
        'Ǌ'..='ǌ' => "ǋ".into(),
        'Ǳ'..='ǳ' => "ǲ".into(),
        'ŉ' => "ʼN".into(),
        c => {
            let mut upper = c.to_uppercase();
            let first = upper.next().unwrap_or(c);
            std::iter::once(first).chain(upper.flat_map(char::to_lowercase)).collect()
        }
    }
}

fn title(s: &str) -> String {
    let mut text = String::new();
    let mut in_word = false;
    for c in s.chars() {
        match in_word {
            true => text.extend(c.to_lowercase()),
            false => text += &title_case(c),
        }
        in_word = cased(c);
    }
    text
}

fn swap_case(s: &str) -> String {
    let mut text = String::new();
    for c in s.chars() {
        match c.is_uppercase() {
            true => text.extend(c.to_lowercase()),
            false if c.is_lowercase() => text.extend(c.to_uppercase()),
            false => text.push(c),
        }
    }
    text
}

fn is_title(s: &str) -> bool {
    let (mut in_word, mut any) = (false, false);
    for c in s.chars() {
        let starts = c.is_uppercase() || titled(c);
        if starts && in_word || c.is_lowercase() && !in_word {
            return false;
        }
        in_word = cased(c);
        any |= in_word;
    }
    any
}
