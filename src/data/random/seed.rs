//! NumPy's `SeedSequence`: from one int to as many well-mixed bits as a generator needs.
//!
//! After M. E. O'Neill, "Developing a seed_seq alternative" (2015), with NumPy's constants.

use std::iter;

/// Words that hold the entropy.
const POOL: usize = 4;

/// The first `N` words of `SeedSequence(seed).generate_state(N, uint64)`.
pub fn state<const N: usize>(seed: u64) -> [u64; N] {
    let pool = mixed(seed);
    let mut hash = Hash { state: 0x8b51_f9dd, factor: 0x58f3_8ded };
    let mut words = pool.iter().cycle().map(|word| hash.mix(*word));
    let mut word = || u64::from(words.next().unwrap_or_default());
    [(); N].map(|()| word() | word() << 32)
}

fn mixed(seed: u64) -> [u32; POOL] {
    let mut hash = Hash { state: 0x43b0_d7e5, factor: 0x931e_8875 };
    let mut words = [seed as u32, (seed >> 32) as u32].into_iter().chain(iter::repeat(0));
    let mut pool = [0; POOL].map(|_: u32| hash.mix(words.next().unwrap_or_default()));
    for from in 0..POOL {
        for to in (0..POOL).filter(|to| *to != from) {
            let other = hash.mix(pool[from]);
            let sum = pool[to].wrapping_mul(0xca01_f9dd).wrapping_sub(other.wrapping_mul(0x4973_f715));
            pool[to] = sum ^ sum >> 16;
        }
    }
    pool
}

/// A multiplicative hash whose constant changes at every word.
struct Hash {
    state: u32,
    factor: u32,
}

impl Hash {
    fn mix(&mut self, word: u32) -> u32 {
        let word = word ^ self.state;
        self.state = self.state.wrapping_mul(self.factor);
        let word = word.wrapping_mul(self.state);
        word ^ word >> 16
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_numpys() {
        let words: [u64; 4] = super::state(123);
        let expected =
            [0xb138_3ed0_2958_44f6, 0xa250_632e_171d_58af, 0x86a7_247f_7443_199d, 0x136d_e7e3_c11f_ce1d];
        assert_eq!(words, expected);
    }
}
