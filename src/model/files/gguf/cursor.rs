//! Bounds-checked reading of GGUF's little-endian values from a byte slice.

use super::Problem;

type Result<T> = std::result::Result<T, Problem>;

/// The file's number of each value type and its name, in order.
const KINDS: [&str; 13] =
    ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "a string", "an array", "u64", "i64", "f64"];
const STRING: u32 = 8;
const ARRAY: u32 = 9;

pub fn kind_name(kind: u32) -> &'static str {
    KINDS.get(kind as usize).copied().unwrap_or("an unknown type")
}

/// Bytes of one scalar; `None` for strings, arrays and unknown types.
fn scalar_size(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, count: u64, what: &'static str) -> Result<&'a [u8]> {
        let end = (self.at as u64).saturating_add(count);
        let taken = usize::try_from(end).ok().and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| Problem::Truncated {
            what: what.into(),
            end,
            len: self.bytes.len() as u64,
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, "the header")?);
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.fixed()?))
    }

    /// A string without its type tag. Some files end strings with a NUL, and some are not UTF-8.
    pub fn text(&mut self) -> Result<String> {
        let len = self.u64()?;
        let text = String::from_utf8_lossy(self.take(len, "a string in the header")?);
        Ok(text.trim_end_matches('\0').into())
    }

    /// Steps over a value and its type tag.
    pub fn skip_value(&mut self) -> Result<()> {
        match self.u32()? {
            STRING => self.skip_text(),
            ARRAY => {
                let (kind, len) = (self.u32()?, self.u64()?);
                match (kind, scalar_size(kind)) {
                    (_, Some(size)) => {
                        self.take(len.saturating_mul(size), "an array in the header").map(|_| ())
                    }
                    (STRING, _) => (0..len).try_for_each(|_| self.skip_text()),
                    _ => Err(Problem::Corrupt(format!("an array of {}", kind_name(kind)))),
                }
            }
            kind => match scalar_size(kind) {
                Some(size) => self.take(size, "the header").map(|_| ()),
                None => Err(Problem::Corrupt(format!("a value of unknown type {kind}"))),
            },
        }
    }

    fn skip_text(&mut self) -> Result<()> {
        let len = self.u64()?;
        self.take(len, "a string in the header").map(|_| ())
    }

    /// An integer of the given kind; `None` if the kind is no integer, or the value does not fit.
    pub fn integer(&mut self, kind: u32) -> Result<Option<i64>> {
        Ok(match kind {
            0 => Some(u8::from_le_bytes(self.fixed()?).into()),
            1 => Some(i8::from_le_bytes(self.fixed()?).into()),
            2 => Some(u16::from_le_bytes(self.fixed()?).into()),
            3 => Some(i16::from_le_bytes(self.fixed()?).into()),
            4 => Some(u32::from_le_bytes(self.fixed()?).into()),
            5 => Some(i32::from_le_bytes(self.fixed()?).into()),
            10 => u64::from_le_bytes(self.fixed()?).try_into().ok(),
            11 => Some(i64::from_le_bytes(self.fixed()?)),
            _ => None,
        })
    }

    pub fn float(&mut self, kind: u32) -> Result<Option<f32>> {
        Ok(match kind {
            6 => Some(f32::from_le_bytes(self.fixed()?)),
            12 => Some(f64::from_le_bytes(self.fixed()?) as f32),
            _ => None,
        })
    }

    pub fn bool(&mut self, kind: u32) -> Result<Option<bool>> {
        Ok(match kind {
            7 => Some(self.fixed::<1>()? != [0]),
            _ => None,
        })
    }

    pub fn string(&mut self, kind: u32) -> Result<Option<String>> {
        Ok(match kind {
            STRING => Some(self.text()?),
            _ => None,
        })
    }

    /// An array whose elements `read` reads; `None` if it is no array, or one of other things.
    pub fn array<T>(
        &mut self,
        kind: u32,
        mut read: impl FnMut(&mut Self, u32) -> Result<Option<T>>,
    ) -> Result<Option<Vec<T>>> {
        if kind != ARRAY {
            return Ok(None);
        }
        let (kind, len) = (self.u32()?, self.u64()?);
        (0..len).map(|_| read(self, kind)).collect()
    }
}
