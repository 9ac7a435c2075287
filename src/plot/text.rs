//! Measuring, wrapping and spelling text. The font is DejaVu Sans, embedded, so that every machine measures
//! and draws alike.

use std::sync::LazyLock;

use ttf_parser::Face;

/// How far the box of a line reaches above and below its middle, in em: half of ascent and descent in DejaVu
/// Sans' `hhea` table.
pub(super) const HALF_LINE: f64 = (1901.0 + 483.0) / 2048.0 / 2.0;
/// From the middle of a capital letter down to the baseline, in em. Texts are placed by that middle.
pub(super) const MIDDLE_TO_BASELINE: f64 = 0.36;
/// In em. What DejaVu lacks comes from the viewer's own fonts in an SVG, from the machine's in a PNG, mostly with
/// characters a full em wide. So the arrangement is the same on every machine.
pub(super) const UNCOVERED_ADVANCE: f64 = 1.0;

/// The embedded font.
pub(super) fn face() -> &'static Face<'static> {
    static FACE: LazyLock<Face<'static>> = LazyLock::new(|| {
        Face::parse(dejavu::sans::regular(), 0).expect("the embedded font is part of the program")
    });
    &FACE
}

/// How far `c` reaches, in em.
fn advance(c: char) -> f64 {
    let units = face().glyph_index(c).and_then(|glyph| face().glyph_hor_advance(glyph));
    units.map_or(UNCOVERED_ADVANCE, |units| f64::from(units) / f64::from(face().units_per_em()))
}

/// The width of one line set with an em of `size`.
pub(super) fn width(line: &str, size: f64) -> f64 {
    line.chars().map(advance).sum::<f64>() * size
}

/// Breaks `text` into lines of at most `max_width`: at its own line breaks, then between words, and within
/// a word only where that alone is too long. The lines of one paragraph come out about equally long.
pub(super) fn wrap(text: &str, size: f64, max_width: f64) -> Vec<String> {
    let balanced = |paragraph: &str| {
        let lines = fill(paragraph, size, max_width);
        let (mut low, mut high) = (max_width / lines.len() as f64 / 2.0, max_width);
        while high - low > size {
            let middle = (low + high) / 2.0;
            if fill(paragraph, size, middle).len() > lines.len() { low = middle } else { high = middle }
        }
        fill(paragraph, size, high)
    };
    text.lines().flat_map(|paragraph| balanced(&one_line(paragraph))).collect()
}

/// Fills each line before it starts the next.
fn fill(paragraph: &str, size: f64, max_width: f64) -> Vec<String> {
    let fits = |line: &str| width(line.trim_end(), size) <= max_width;
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in paragraph.split_inclusive(' ') {
        if !line.is_empty() && !fits(&format!("{line}{word}")) {
            lines.push(std::mem::take(&mut line));
        }
        if fits(word) {
            line.push_str(word);
            continue;
        }
        for c in word.chars() {
            if !line.is_empty() && !fits(&format!("{line}{c}")) {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Makes control characters visible, so that the text stays on its line and is valid in any format.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut line, c);
    }
    line
}

/// What stands for a line break.
pub const TOKEN_LINE_BREAK: char = '⏎';

fn push_visible(line: &mut String, c: char) {
    match c {
        '\n' => line.push(TOKEN_LINE_BREAK),
        '\t' => line.push('⇥'),
        // Controls, what has no width, and what XML forbids.
        c if c.is_control() => line.extend(c.escape_unicode()),
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fffe}'
        | '\u{ffff}' => line.extend(c.escape_unicode()),
        c => line.push(c),
    }
}

/// A token's text as a label: outer spaces as `·`, a line break as `⏎`, a tab as `⇥`, nothing as `∅`; bytes
/// that are no character (U+FFFD) and invisible characters as `\u{..}`.
///
/// ```
/// assert_eq!(patchscript::plot::visible_token(" the"), "·the");
/// assert_eq!(patchscript::plot::visible_token("\n"), "⏎");
/// ```
pub fn visible_token(token: &str) -> String {
    if token.is_empty() {
        return "∅".to_owned();
    }
    let inner = token.trim_matches(' ');
    let leading = token.len() - token.trim_start_matches(' ').len();
    let trailing = token.len() - leading - inner.len();
    let mut label = "·".repeat(leading);
    for c in inner.chars() {
        match c {
            '\u{fffd}' | '\u{a0}' => label.extend(c.escape_unicode()),
            c => push_visible(&mut label, c),
        }
    }
    label + "·".repeat(trailing).as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_visible() {
        for (token, label) in [
            (" the", "·the"),
            ("  ", "··"),
            ("a b ", "a b·"),
            ("", "∅"),
            ("\n\n", "⏎⏎"),
            ("\tx", "⇥x"),
            ("\u{fffd}", "\\u{fffd}"),
            ("\u{200b}\r", "\\u{200b}\\u{d}"),
            ("Ġ日", "Ġ日"),
        ] {
            assert_eq!(visible_token(token), label);
        }
    }

    #[test]
    fn the_font_is_embedded_and_measures_what_it_lacks() {
        // DejaVu Sans: `0` advances 1303 of 2048 units, `i` 569.
        assert!((width("0", 2048.0) - 1303.0).abs() < 5.0);
        assert!((width("i", 2048.0) - 569.0).abs() < 5.0);
        assert!("·⏎⇥∅Ġ→éλ".chars().all(|c| face().glyph_index(c).is_some()));
        assert_eq!(width("東", 10.0), 10.0);
    }

    #[test]
    fn lines_are_wrapped_within_their_width() {
        let text = "the quick brown fox\njumps over averyveryverylongwordindeed";
        let lines = wrap(text, 10.0, 80.0);
        assert!(lines.iter().all(|line| width(line, 10.0) <= 80.0), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace([' ', '\n'], ""));
        assert_eq!(wrap("a\n\nb", 10.0, 80.0), ["a", "", "b"]);
        assert_eq!(wrap("one two three four five", 10.0, 100.0), ["one two three", "four five"]);
    }
}
