//! Rows of float32, wherever they lie: in memory, or in files that are mapped because they are larger than it.

use std::sync::Arc;

/// Many rows of one width, read in any order and by any thread.
pub trait Rows: Send + Sync {
    /// How many rows there are.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers a row.
    fn width(&self) -> usize;

    /// The numbers of row `i`.
    ///
    /// # Panics
    /// Where `i` is not below [`Rows::len`].
    fn row(&self, i: usize) -> &[f32];
}

/// Rows in memory, one after the other: borrowed numbers, or its own.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<V> {
    values: V,
    width: usize,
}

impl<V: AsRef<[f32]>> Matrix<V> {
    /// Rows of `width` numbers; numbers at the end that do not fill a row are no part of it.
    pub fn new(values: V, width: usize) -> Self {
        Self { values, width: width.max(1) }
    }
}

impl<V: AsRef<[f32]> + Send + Sync> Rows for Matrix<V> {
    fn len(&self) -> usize {
        self.values.as_ref().len() / self.width
    }

    fn width(&self) -> usize {
        self.width
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values.as_ref()[i * self.width..(i + 1) * self.width]
    }
}

/// Some rows of others, in any order.
pub struct Chosen {
    rows: Arc<dyn Rows>,
    which: Vec<usize>,
}

impl Chosen {
    /// # Panics
    /// Where one of `which` is not below the number of rows.
    pub fn new(rows: Arc<dyn Rows>, which: Vec<usize>) -> Self {
        assert!(which.iter().all(|i| *i < rows.len()), "a row is chosen that is not there");
        Self { rows, which }
    }
}

impl Rows for Chosen {
    fn len(&self) -> usize {
        self.which.len()
    }

    fn width(&self) -> usize {
        self.rows.width()
    }

    fn row(&self, i: usize) -> &[f32] {
        self.rows.row(self.which[i])
    }
}
