//! What was typed before, found by a few letters of it: Ctrl-R goes through the entries that have all letters in their
//! order, the best first.

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::path::Path;

use rustyline::Result;
use rustyline::history::{FileHistory, History, SearchDirection, SearchResult};

/// A history whose search is fuzzy.
pub struct Fuzzy {
    entries: FileHistory,
    /// What was searched for last.
    term: RefCell<String>,
}

impl Fuzzy {
    pub fn new(entries: FileHistory) -> Self {
        Self { entries, term: RefCell::default() }
    }

    /// The entries that match, each once, the best first, with where the match begins.
    fn ranked(&self, term: &str) -> Vec<(usize, usize)> {
        let mut found: Vec<_> = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| score(entry, term).map(|(score, at)| (score, index, at)))
            .collect();
        // Of equal ones, the latest.
        found.sort_by_key(|(score, index, _)| Reverse((*score, *index)));
        let mut seen = std::collections::HashSet::new();
        found.retain(|(_, index, _)| self.entries.iter().nth(*index).is_some_and(|entry| seen.insert(entry)));
        found.into_iter().map(|(_, index, at)| (index, at)).collect()
    }
}

/// How well an entry matches, and where the match begins: every word of the term must be in it, letter by letter. Words
/// that stand there as they are count most, then letters that follow each other or begin a word.
fn score(entry: &str, term: &str) -> Option<(i64, usize)> {
    let mut sum = (0, None);
    for word in term.split_whitespace() {
        let (score, at) = word_score(entry, word)?;
        sum = (sum.0 + score, Some(sum.1.map_or(at, |first: usize| first.min(at))));
    }
    Some((sum.0, sum.1.unwrap_or(0)))
}

fn word_score(entry: &str, word: &str) -> Option<(i64, usize)> {
    // Capitals count only where they are typed.
    let exact = word.chars().any(char::is_uppercase);
    let same = |a: char, b: char| a == b || !exact && a.to_lowercase().eq(b.to_lowercase());
    let begins = |at: usize| !entry[..at].ends_with(char::is_alphanumeric);
    let letters = word.chars().count() as i64;
    let whole = entry.char_indices().map(|(at, _)| at).filter(|at| {
        let mut rest = entry[*at..].chars();
        word.chars().all(|c| rest.next().is_some_and(|other| same(c, other)))
    });
    if let Some(at) = whole.max_by_key(|at| (begins(*at), Reverse(*at))) {
        return Some((8 * letters + 4 * i64::from(begins(at)), at));
    }
    let (mut score, mut first, mut next) = (0, None, 0);
    for c in word.chars() {
        // A letter that begins a word is preferred to one inside, unless it goes on where the last one was.
        let mut places =
            entry[next..].char_indices().filter(|(_, other)| same(c, *other)).map(|(at, _)| next + at);
        let nearest = places.next()?;
        let goes_on = first.is_some() && nearest == next;
        let at = if goes_on {
            nearest
        } else {
            [nearest].into_iter().chain(places).find(|at| begins(*at)).unwrap_or(nearest)
        };
        score += if goes_on {
            3
        } else if begins(at) {
            2
        } else {
            -1
        };
        first = first.or(Some(at));
        next = at + entry[at..].chars().next().map_or(1, char::len_utf8);
    }
    // Letters that are strewn over an entry are no match.
    (score > 0).then_some((score, first.unwrap_or(0)))
}

impl History for Fuzzy {
    /// `start` counts down from the newest entry, as the editor goes on: so many places further than the best match.
    fn search(&self, term: &str, start: usize, _: SearchDirection) -> Result<Option<SearchResult<'_>>> {
        let Some(newest) = self.entries.len().checked_sub(1).filter(|_| !term.is_empty()) else {
            return Ok(None);
        };
        // With every letter, the search begins anew.
        let goes_on = self.term.replace(term.into()) == term;
        let start = if goes_on { start } else { newest };
        let Some((index, pos)) = self.ranked(term).get(newest.saturating_sub(start)).copied() else {
            return Ok(None);
        };
        let entry = self.entries.iter().nth(index).map(|entry| Cow::Borrowed(entry.as_str()));
        Ok(entry.map(|entry| SearchResult { entry, idx: start, pos }))
    }

    fn get(&self, index: usize, direction: SearchDirection) -> Result<Option<SearchResult<'_>>> {
        self.entries.get(index, direction)
    }

    fn add(&mut self, line: &str) -> Result<bool> {
        self.entries.add(line)
    }

    fn add_owned(&mut self, line: String) -> Result<bool> {
        self.entries.add_owned(line)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn set_max_len(&mut self, len: usize) -> Result<()> {
        self.entries.set_max_len(len)
    }

    fn ignore_dups(&mut self, yes: bool) -> Result<()> {
        self.entries.ignore_dups(yes)
    }

    fn ignore_space(&mut self, yes: bool) {
        self.entries.ignore_space(yes);
    }

    fn save(&mut self, path: &Path) -> Result<()> {
        self.entries.save(path)
    }

    fn append(&mut self, path: &Path) -> Result<()> {
        self.entries.append(path)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        self.entries.load(path)
    }

    fn clear(&mut self) -> Result<()> {
        self.entries.clear()
    }

    fn starts_with(
        &self,
        term: &str,
        start: usize,
        dir: SearchDirection,
    ) -> Result<Option<SearchResult<'_>>> {
        self.entries.starts_with(term, start, dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(entries: &[&str], term: &str) -> Vec<String> {
        let mut history = Fuzzy::new(FileHistory::new());
        for entry in entries {
            history.add(entry).unwrap();
        }
        let mut start = entries.len() - 1;
        let mut found = Vec::new();
        while let Some(result) = history.search(term, start, SearchDirection::Reverse).unwrap() {
            found.push(result.entry.to_string());
            let Some(next) = result.idx.checked_sub(1) else { break };
            start = next;
        }
        found
    }

    #[test]
    fn the_best_comes_first_and_each_once() {
        let entries =
            ["let m = load()", "m.trace(\"a\")", "m.sweep(p, 0..8)", "m.trace(\"a\")", "let t = 1", "1 + 1"];
        assert_eq!(found(&entries, "trace"), ["m.trace(\"a\")"]);
        assert_eq!(found(&entries, "mtr"), ["m.trace(\"a\")"]);
        assert_eq!(found(&entries, "swp"), ["m.sweep(p, 0..8)"]);
        assert_eq!(found(&entries, "let"), ["let t = 1", "let m = load()"]);
        assert_eq!(found(&entries, "load let"), ["let m = load()"]);
        assert_eq!(found(&entries, "Let"), Vec::<String>::new());
        assert_eq!(found(&entries, "zq"), Vec::<String>::new());
        assert_eq!(found(&["é日本(1)"], "日1"), ["é日本(1)"]);
    }

    #[test]
    fn a_new_letter_begins_anew() {
        let mut history = Fuzzy::new(FileHistory::new());
        for entry in ["abc", "abd", "ab"] {
            history.add(entry).unwrap();
        }
        let search = |term: &str, start| {
            let found = history.search(term, start, SearchDirection::Reverse).unwrap();
            found.map(|found| (found.entry.to_string(), found.idx))
        };
        assert_eq!(search("a", 2), Some(("ab".into(), 2)));
        assert_eq!(search("a", 1), Some(("abd".into(), 1)));
        assert_eq!(search("abc", 1), Some(("abc".into(), 2)));
        assert_eq!(search("abc", 1), None);
    }
}
