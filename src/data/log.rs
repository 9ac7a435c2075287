//! A JSONL file that grows by a line at a time, and can be taken up again after an interruption.
//!
//! Every line is written at once, so whatever ends the program leaves whole lines, and announced before, so that a log
//! that somebody else changed is known by it ([`kept`]). Taken up again, the log holds its lines ready: each one that
//! the run would add is compared with the line that is there, and skipped if they are equal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{self, JsonError};

/// Where a line ends, in bytes, and the CRC-32 of all until there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    pub end: u64,
    pub sum: u32,
}

/// How many whole lines a log has, if these are the first of those that `marks` announced: written in their order and
/// left alone since. The next one may be there in part.
pub fn kept(text: &[u8], marks: &[Mark]) -> Option<usize> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = marks.iter().take_while(|mark| mark.end <= whole as u64).count();
    let last = lines.checked_sub(1).map_or(Mark { end: 0, sum: 0 }, |last| marks[last]);
    let next = marks.get(lines).map_or(last.end, |mark| mark.end);
    let found = Mark { end: whole as u64, sum: crc32fast::hash(&text[..whole]) };
    (found == last && text.len() as u64 <= next).then_some(lines)
}

/// Whether nobody will find what is written to a file, since it was removed.
pub fn is_gone(file: &File) -> bool {
    #[cfg(unix)]
    return file.metadata().is_ok_and(|data| std::os::unix::fs::MetadataExt::nlink(&data) == 0);
    #[cfg(not(unix))]
    return file.metadata().is_err();
}

/// Writes to the end of a file, or if that fails leaves it as it was.
pub fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let end = file.stream_position()?;
    let written = file.write_all(bytes);
    if written.is_err() {
        // What stops the write may stop this too; the half line is then dropped when the log is taken up.
        let _ = file.set_len(end);
        let _ = file.seek(SeekFrom::Start(end));
    }
    written
}

/// A log, and how far the run has come in it.
#[derive(Debug)]
pub struct Log {
    /// What errors call it: the path as the user wrote it.
    name: String,
    file: File,
    /// The values of the lines that this run has added, or found there.
    rows: Vec<Value>,
    /// The lines of an earlier run that this one has yet to reach, the next one last.
    ahead: Vec<String>,
    /// Of all that is in the file.
    mark: Mark,
}

/// Why a log could not grow.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot write `{name}`: {reason}")]
    Write { name: String, reason: io::Error },
    #[error("`{name}` was removed while the run was writing to it")]
    Gone { name: String },
    #[error("`{name}` was changed while the run was writing to it")]
    Changed { name: String },
    #[error("line {line} of `{name}` is not what this run makes of it")]
    Differs { name: String, line: usize },
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl Log {
    /// Takes `file` up, with whatever whole lines it has. A last line without its end was cut off, and is dropped.
    pub fn new(name: &str, mut file: File) -> Result<Log, LogError> {
        let mut text = String::new();
        let mut take_up = || {
            file.read_to_string(&mut text)?;
            text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
            file.set_len(text.len() as u64)?;
            file.seek(SeekFrom::End(0))
        };
        take_up().map_err(|reason| LogError::Write { name: name.into(), reason })?;
        let ahead = text.lines().rev().map(String::from).collect();
        let mark = Mark { end: text.len() as u64, sum: crc32fast::hash(text.as_bytes()) };
        Ok(Log { name: name.into(), file, rows: Vec::new(), ahead, mark })
    }

    /// The values of the lines so far, those of an earlier run only as far as this one has reached them.
    pub fn rows(&self) -> &[Value] {
        &self.rows
    }

    /// How many lines of an earlier run are still ahead.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Takes the next `n` lines of an earlier run, of which there must be as many, as they are.
    pub fn accept(&mut self, n: usize) -> Result<(), LogError> {
        for _ in 0..n {
            let Some(line) = self.ahead.pop() else { break };
            let line_number = self.rows.len() + 1;
            let value = json::parse(&self.name, &line).map_err(|error| error.on_line(line_number))?;
            self.rows.push(value);
        }
        Ok(())
    }

    /// Adds a line, in one write. If that fails, the file ends with the line before. `announce` hears of the line before
    /// it is written.
    pub fn append(
        &mut self,
        value: Value,
        announce: impl FnOnce(Mark) -> io::Result<()>,
    ) -> Result<(), LogError> {
        let write = |reason| LogError::Write { name: self.name.clone(), reason };
        let mut line = Vec::new();
        json::write_line(&mut line, &value).map_err(write)?;
        match self.ahead.pop() {
            Some(there) if there.as_bytes() == line.trim_ascii_end() => {}
            Some(_) => {
                return Err(LogError::Differs { name: self.name.clone(), line: self.rows.len() + 1 });
            }
            None => {
                if is_gone(&self.file) {
                    return Err(LogError::Gone { name: self.name.clone() });
                }
                if self.file.metadata().map_err(write)?.len() != self.mark.end {
                    return Err(LogError::Changed { name: self.name.clone() });
                }
                let mut sum = Hasher::new_with_initial_len(self.mark.sum, self.mark.end);
                sum.update(&line);
                let mark = Mark { end: self.mark.end + line.len() as u64, sum: sum.finalize() };
                announce(mark).and_then(|()| write_whole(&mut self.file, &line)).map_err(write)?;
                self.mark = mark;
            }
        }
        self.rows.push(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A log over a file with this text.
    fn log(text: &str) -> (Log, tempfile::NamedTempFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        (Log::new("log.jsonl", file.reopen().unwrap()).unwrap(), file)
    }

    fn text(file: &tempfile::NamedTempFile) -> String {
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn a_log_that_was_cut_off_ends_as_an_uninterrupted_one() {
        let rows = [json!({"x": 0.1, "t": "é"}), json!({"x": [1, 2]}), json!({"x": null})];
        let (mut whole, expected) = log("");
        rows.iter().for_each(|row| whole.append(row.clone(), |_| Ok(())).unwrap());
        let expected = text(&expected);
        for cut in (0..=expected.len()).filter(|cut| expected.is_char_boundary(*cut)) {
            let (mut again, file) = log(&expected[..cut]);
            let ahead = expected[..cut].matches('\n').count();
            assert_eq!(again.ahead(), ahead);
            again.accept(ahead / 2).unwrap();
            assert_eq!(again.rows(), &rows[..ahead / 2]);
            rows[ahead / 2..].iter().for_each(|row| again.append(row.clone(), |_| Ok(())).unwrap());
            assert_eq!(text(&file), expected, "cut at {cut}");
            assert_eq!(again.rows(), rows);
        }
    }

    #[test]
    fn a_log_that_somebody_changed_is_known_by_its_marks() {
        let (mut log, file) = log("");
        let mut marks = Vec::new();
        for i in 0..5 {
            let row = json!({"i": i, "text": "aé\nb"});
            let announce = |mark| {
                marks.push(mark);
                Ok(())
            };
            log.append(row, announce).unwrap();
        }
        let text = text(&file);
        let ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        for cut in 0..=text.len() {
            let lines = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(kept(&text.as_bytes()[..cut], &marks), Some(lines), "cut at {cut}");
        }
        // The last line was announced, and not or not wholly written.
        assert_eq!(kept(&text.as_bytes()[..ends[3]], &marks), Some(4));
        let edits = [
            text.replace("\"i\":2", "\"i\":7"),
            text.replace('\n', "\r\n"),
            text.clone() + "{}\n",
            text.clone() + "{",
            text.clone() + "\n",
            format!("\n{text}"),
            text[ends[0]..].to_string(),
            text.lines().rev().map(|line| format!("{line}\n")).collect(),
            text.replace("\"i\":2", "\"i\": 2"),
        ];
        for edit in edits {
            assert_eq!(kept(edit.as_bytes(), &marks), None, "{edit}");
        }
        assert_eq!((kept(b"", &[]), kept(b"{}\n", &[]), kept(b"{", &[])), (Some(0), None, None));
    }

    #[cfg(unix)]
    #[test]
    fn a_log_that_is_removed_or_changed_under_a_run_ends_it() {
        let (mut log, file) = log("");
        log.append(json!(1), |_| Ok(())).unwrap();
        file.as_file().set_len(0).unwrap();
        let error = log.append(json!(2), |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "`log.jsonl` was changed while the run was writing to it");
        file.close().unwrap();
        let error = log.append(json!(2), |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "`log.jsonl` was removed while the run was writing to it");
        assert_eq!(log.rows(), [json!(1)]);
    }

    #[test]
    fn another_line_than_before_is_refused() {
        let (mut log, file) = log("{\"x\":1}\n{\"x\":2}\n");
        log.append(json!({"x": 1}), |_| Ok(())).unwrap();
        let error = log.append(json!({"x": 3}), |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of `log.jsonl` is not what this run makes of it");
        assert_eq!(text(&file), "{\"x\":1}\n{\"x\":2}\n");
    }

    #[test]
    fn a_spoilt_line_is_told_by_its_number() {
        let (mut log, _file) = log("1\n{\n");
        let error = log.accept(2).unwrap_err();
        assert!(error.to_string().starts_with("line 2, column "), "{error}");
    }
}
