//! The names of entries.

use std::hash::{DefaultHasher, Hasher};

/// Takes in all that decides a result, in an order; what is hashed is told apart by its lengths. Two checksums of 64 bits
/// side by side: of a million results, two have one name by accident with a probability of 2⁻⁸⁹.
#[derive(Debug, Clone)]
pub struct Key {
    kind: &'static str,
    sums: [DefaultHasher; 2],
}

impl Key {
    /// For results of this kind, a word.
    pub fn new(kind: &'static str) -> Key {
        let mut second = DefaultHasher::new();
        second.write_u8(1);
        Key { kind, sums: [DefaultHasher::new(), second] }
    }

    /// The name of the entry.
    pub fn name(&self) -> String {
        let [a, b] = self.sums.each_ref().map(DefaultHasher::finish);
        format!("{}-{a:016x}{b:016x}", self.kind)
    }
}

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.sums.iter_mut().for_each(|sum| sum.write(bytes));
    }

    fn finish(&self) -> u64 {
        self.sums[0].finish()
    }
}
