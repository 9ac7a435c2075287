//! The known name that a mistyped one most likely stood for.

/// The name closest to `wanted` by edit distance, letter case ignored; `None` if nothing is close.
///
/// Close means at most one edit for every three letters of `wanted`, and one for shorter words.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().collect();
    let limit = (wanted.len() / 3).max(1);
    known
        .into_iter()
        .map(|name| (edit_distance(&wanted, name), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance: the fewest insertions, deletions and replacements that turn one into the other.
fn edit_distance(wanted: &[char], name: &str) -> usize {
    let mut above: Vec<usize> = (0..=wanted.len()).collect();
    for (i, letter) in name.to_lowercase().chars().enumerate() {
        let mut left = i + 1;
        let mut row = vec![left];
        for (&other, pair) in wanted.iter().zip(above.windows(2)) {
            let &[diagonal, up] = pair else { continue };
            left = (diagonal + usize::from(other != letter)).min(up + 1).min(left + 1);
            row.push(left);
        }
        above = row;
    }
    above.pop().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshtein() {
        for (a, b, distance) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("flaw", "lawn", 2), ("a", "a", 0)]
        {
            let letters: Vec<char> = a.chars().collect();
            assert_eq!(edit_distance(&letters, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn finds_the_closest_name_or_none() {
        let known = ["name", "no_power", "power"];
        assert_eq!(nearest("Power", known), Some("power"));
        assert_eq!(nearest("no power", known), Some("no_power"));
        assert_eq!(nearest("label", known), None);
        assert_eq!(nearest("x", ["y"]), None, "one edit away, but nothing in common");
    }
}
