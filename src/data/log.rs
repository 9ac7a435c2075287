//! A JSONL file that grows by a line at a time, and can be taken up again after an interruption.
//!
//! Every line is written at once, so whatever ends the program leaves whole lines. Taken up again, the log holds its
//! lines ready: each one that the run would add is compared with the line that is there, and skipped if they are equal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde_json::Value;

use super::json::{self, JsonError};

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
}

/// Why a log could not grow.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot write `{name}`: {reason}")]
    Write { name: String, reason: io::Error },
    #[error("line {line} of `{name}` is not what this run makes of it")]
    Differs { name: String, line: usize },
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl LogError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            LogError::Write { .. } => {
                Some("the lines before it are whole: make room, and go on with `--resume`".into())
            }
            LogError::Differs { .. } => Some("run without `--resume` to start again".into()),
            LogError::Json(error) => error.help(),
        }
    }
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
        Ok(Log { name: name.into(), file, rows: Vec::new(), ahead })
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

    /// Adds a line, in one write. If that fails, the file ends with the line before.
    pub fn append(&mut self, value: Value) -> Result<(), LogError> {
        let mut line = Vec::new();
        let written = json::write_line(&mut line, &value);
        let written = written.and_then(|()| match self.ahead.pop() {
            None => self.write(&line).map(|()| true),
            Some(there) => Ok(there.as_bytes() == line.trim_ascii_end()),
        });
        let name = || self.name.clone();
        match written {
            Ok(true) => {}
            Ok(false) => return Err(LogError::Differs { name: name(), line: self.rows.len() + 1 }),
            Err(reason) => return Err(LogError::Write { name: name(), reason }),
        }
        self.rows.push(value);
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let end = self.file.stream_position()?;
        let written = self.file.write_all(line);
        if written.is_err() {
            // What stops the write may stop this too; the half line is then dropped when the log is taken up.
            let _ = self.file.set_len(end);
            let _ = self.file.seek(SeekFrom::Start(end));
        }
        written
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
        rows.iter().for_each(|row| whole.append(row.clone()).unwrap());
        let expected = text(&expected);
        for cut in (0..=expected.len()).filter(|cut| expected.is_char_boundary(*cut)) {
            let (mut again, file) = log(&expected[..cut]);
            let ahead = expected[..cut].matches('\n').count();
            assert_eq!(again.ahead(), ahead);
            again.accept(ahead / 2).unwrap();
            assert_eq!(again.rows(), &rows[..ahead / 2]);
            rows[ahead / 2..].iter().for_each(|row| again.append(row.clone()).unwrap());
            assert_eq!(text(&file), expected, "cut at {cut}");
            assert_eq!(again.rows(), rows);
        }
    }

    #[test]
    fn another_line_than_before_is_refused() {
        let (mut log, file) = log("{\"x\":1}\n{\"x\":2}\n");
        log.append(json!({"x": 1})).unwrap();
        let error = log.append(json!({"x": 3})).unwrap_err();
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
