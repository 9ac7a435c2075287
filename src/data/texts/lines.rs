//! A row a line.

use std::io::{self, BufRead, Read};

use super::{HUGE, Raw, Result, Source, TextsError};

pub struct Lines<R> {
    name: String,
    from: R,
    begun: bool,
}

impl<R: BufRead> Lines<R> {
    pub fn new(name: &str, from: R) -> Lines<R> {
        Lines { name: name.into(), from, begun: false }
    }

    fn line(&mut self) -> io::Result<Option<Raw>> {
        let mut line = Vec::new();
        let read = self.from.by_ref().take(HUGE as u64 + 2).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        let ended = line.pop_if(|byte| *byte == b'\n').is_some();
        line.pop_if(|byte| *byte == b'\r');
        if !std::mem::replace(&mut self.begun, true) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        if line.len() < HUGE {
            return Ok(Some(Raw::Bytes(line)));
        }
        if !ended {
            self.from.skip_until(b'\n')?;
        }
        Ok(Some(Raw::Huge))
    }
}

impl<R: BufRead + Send> Source for Lines<R> {
    fn next(&mut self, _: usize) -> Result<Option<Raw>> {
        self.line().map_err(|reason| TextsError::Read { name: self.name.clone(), reason })
    }
}
