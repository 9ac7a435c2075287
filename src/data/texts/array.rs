//! The elements of one large JSON array. Only where each begins and ends is found here; what it is, is asked of the
//! JSON reader, row by row.

use std::io::{self, BufRead};

use super::{HUGE, Raw, Result, Source, TextsError};

pub struct Elements<R> {
    name: String,
    from: R,
    ended: bool,
}

impl<R: BufRead> Elements<R> {
    pub fn open(name: &str, from: R) -> Result<Elements<R>> {
        let mut elements = Elements { name: name.into(), from, ended: false };
        if elements.peek()? == Some(0xef) {
            // A byte order mark.
            (0..3).try_for_each(|_| elements.byte().map(drop))?;
        }
        if elements.after_blanks()? != Some(b'[') {
            return Err(TextsError::NotArray { name: name.into() });
        }
        elements.byte()?;
        // An array of nothing.
        if elements.after_blanks()? == Some(b']') {
            elements.byte()?;
            elements.end()?;
        }
        Ok(elements)
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        let unread = |reason| TextsError::Read { name: self.name.clone(), reason };
        loop {
            match self.from.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unread(error)),
            }
        }
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        let byte = self.peek()?;
        self.from.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    fn after_blanks(&mut self) -> Result<Option<u8>> {
        while self.peek()?.is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.byte()?;
        }
        self.peek()
    }

    /// After the array there is nothing.
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        match self.after_blanks()? {
            None => Ok(()),
            Some(_) => Err(TextsError::NotArray { name: self.name.clone() }),
        }
    }
}

impl<R: BufRead + Send> Source for Elements<R> {
    fn next(&mut self, row: usize) -> Result<Option<Raw>> {
        if self.ended {
            return Ok(None);
        }
        self.after_blanks()?;
        let (mut element, mut len) = (Vec::new(), 0usize);
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        loop {
            let Some(byte) = self.byte()? else {
                let reason = "the file ends within the array".into();
                return Err(TextsError::NotJson { name: self.name.clone(), row, reason });
            };
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = byte == b'\\' && !escaped;
            } else {
                match byte {
                    b',' if depth == 0 => break,
                    b']' if depth == 0 => {
                        self.end()?;
                        break;
                    }
                    b'"' => in_string = true,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            len = len.saturating_add(1);
            if len < HUGE {
                element.push(byte);
            }
        }
        if element.is_empty() {
            let reason = "there is nothing between two commas".into();
            return Err(TextsError::NotJson { name: self.name.clone(), row, reason });
        }
        Ok(Some(if len < HUGE { Raw::Bytes(element) } else { Raw::Huge }))
    }
}
