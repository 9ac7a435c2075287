//! Numbers in a row, in memory or in a mapped file.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

// Numbers are mapped as files hold them.
const _: () = assert!(cfg!(target_endian = "little"));

/// Numbers of which every pattern of bits is one.
pub trait Number: Copy {}

impl Number for f32 {}
impl Number for u32 {}
impl Number for u64 {}

#[derive(Debug)]
pub enum Column<T> {
    Held(Vec<T>),
    /// These bytes, which begin where a `T` may.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl<T: Number> Column<T> {
    /// The numbers in `bytes` of `map`; `None` where they lie askew.
    pub fn mapped(map: &Arc<Mmap>, bytes: Range<usize>) -> Option<Column<T>> {
        let start = map.get(bytes.clone())?.as_ptr();
        (start.cast::<T>().is_aligned() && bytes.len().is_multiple_of(size_of::<T>()))
            .then(|| Column::Mapped(map.clone(), bytes))
    }

    /// As they lie in a file.
    pub fn bytes(&self) -> &[u8] {
        let numbers = &self[..];
        // SAFETY: numbers are bytes without gaps, as many as this, for as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
    }
}

impl<T: Number> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Column::Held(numbers) => numbers,
            Column::Mapped(map, bytes) => {
                let bytes = &map[bytes.clone()];
                // SAFETY: `mapped` looked that these begin where a `T` may, and any bytes are one; the map is read-only
                // and lives as long as `self`. As with weights, another program must not change the file meanwhile.
                unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
            }
        }
    }
}

impl<T> From<Vec<T>> for Column<T> {
    fn from(numbers: Vec<T>) -> Self {
        Column::Held(numbers)
    }
}
