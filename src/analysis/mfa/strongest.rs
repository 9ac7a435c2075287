//! Which rows are most a component's own, and whose each row is.

use super::Mfa;
use super::error::{MfaError, Result};
use crate::data::rows::Rows;

/// What makes a row a component's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Score {
    /// Its share in the row: 1 for each row that no other component comes near.
    Posterior,
    /// The logarithm of its density there, whatever other components say.
    Likelihood,
}

/// How the values of rows of one kind, such as those of one token, come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// Not at all: each row stands for itself.
    Occurrence,
    Max,
    Sum,
}

/// A row of a component: where a kind's values come together, that with the largest of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Own {
    pub row: usize,
    pub score: f64,
}

impl Mfa {
    /// The component with the largest share in each row, `[n]`; of equal ones the first. `go_on` hears how many rows are
    /// done.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite; [`MfaError::Interrupted`] where `go_on` says no.
    pub fn assign(&self, x: &dyn Rows, go_on: impl Fn(usize) -> bool) -> Result<Vec<u32>> {
        let mut out = Vec::with_capacity(x.len());
        self.each_responsibilities(x, 1.0, |first, shares| {
            for shares in shares.chunks(self.components()) {
                out.push(largest(shares) as u32);
            }
            go_on(first)
        })?;
        Ok(out)
    }

    /// The `most` rows, or kinds of rows, that score highest under each component, the highest first; of equal ones the
    /// earlier. `kinds` `[n]` numbers the kind of each row from 0, and is not looked at for [`Aggregate::Occurrence`].
    ///
    /// # Errors
    /// As [`Mfa::assign`]; kinds of other rows than these.
    pub fn strongest(
        &self,
        x: &dyn Rows,
        score: Score,
        aggregate: Aggregate,
        kinds: &[u32],
        most: usize,
        go_on: impl Fn(usize) -> bool,
    ) -> Result<Vec<Vec<Own>>> {
        let components = self.components();
        let mut found = match aggregate {
            Aggregate::Occurrence => Found::Rows(vec![Vec::new(); components]),
            _ if kinds.len() != x.len() => {
                return Err(MfaError::Size { name: "kinds", found: kinds.len(), expected: x.len() });
            }
            _ => {
                let many = kinds.iter().max().map_or(0, |kind| *kind as usize + 1);
                Found::Kinds(vec![None; many * components])
            }
        };
        let mut see = |first: usize, scores: &[f32]| {
            for (i, scores) in scores.chunks(components).enumerate() {
                let row = first + i;
                match &mut found {
                    Found::Rows(rows) => {
                        for (own, score) in rows.iter_mut().zip(scores) {
                            insert(own, Own { row, score: f64::from(*score) }, most);
                        }
                    }
                    Found::Kinds(all) => {
                        let place = kinds[row] as usize * components;
                        for (kind, score) in all[place..place + components].iter_mut().zip(scores) {
                            kind.get_or_insert_default().add(row, *score);
                        }
                    }
                }
            }
            go_on(first)
        };
        match score {
            Score::Posterior => self.each_responsibilities(x, 1.0, &mut see)?,
            Score::Likelihood => self.each_log_likelihoods(x, &mut see)?,
        }
        Ok(match found {
            Found::Rows(rows) => rows,
            Found::Kinds(all) => {
                let own = |k: usize| {
                    let mut own = Vec::new();
                    for kind in all.iter().skip(k).step_by(components).flatten() {
                        let score = if aggregate == Aggregate::Sum { kind.sum } else { f64::from(kind.max) };
                        insert(&mut own, Own { row: kind.row, score }, most);
                    }
                    own
                };
                (0..components).map(own).collect()
            }
        })
    }
}

/// Which of the shares is largest; of equal ones the first.
pub fn largest(shares: &[f32]) -> usize {
    (0..shares.len()).fold(0, |best, k| if shares[k] > shares[best] { k } else { best })
}

enum Found {
    Rows(Vec<Vec<Own>>),
    /// `[kinds, K]`
    Kinds(Vec<Option<Kind>>),
}

/// What rows of one kind have come to.
#[derive(Debug, Clone, Copy)]
struct Kind {
    row: usize,
    max: f32,
    sum: f64,
}

impl Default for Kind {
    fn default() -> Self {
        Kind { row: 0, max: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl Kind {
    fn add(&mut self, row: usize, score: f32) {
        self.sum += f64::from(score);
        if score > self.max {
            (self.max, self.row) = (score, row);
        }
    }
}

/// Puts `new` behind all that score no less, if it is among the `most` highest.
fn insert(own: &mut Vec<Own>, new: Own, most: usize) {
    if own.len() == most && own.last().is_none_or(|last| new.score <= last.score) {
        return;
    }
    let place = own.partition_point(|other| other.score >= new.score);
    own.insert(place, new);
    own.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::mfa::{Sizes, Stored};
    use crate::data::random::Generator;
    use crate::data::rows::Matrix;

    fn mixture(rng: &mut Generator) -> Mfa {
        let sizes = Sizes { components: 5, width: 6, rank: 2, psi_per_component: false };
        let mut of = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.standard_normal() as f32).collect() };
        let (mu, dir_raw, scale_rho) = (of(30), of(60), of(10));
        let (psi_rho, pi_logits) = (of(6), of(5));
        Mfa::new(Stored { sizes, mu, dir_raw, scale_rho, psi_rho, pi_logits, eps_floor: 1e-5 }).unwrap()
    }

    #[test]
    fn the_strongest_are_those_of_all_scores_sorted() {
        let mut rng = Generator::new(3);
        let mfa = mixture(&mut rng);
        let mut numbers: Vec<f32> = (0..6 * 700).map(|_| 2.0 * rng.standard_normal() as f32).collect();
        // The same row twice: of equal ones the earlier comes first.
        numbers.copy_within(0..6, 6 * 300);
        let x = Matrix::new(&numbers, 6);
        let kinds: Vec<u32> = (0..700).map(|_| rng.integers(0, 9).unwrap() as u32).collect();
        let scores = [
            (Score::Posterior, mfa.responsibilities(&x, 1.0).unwrap()),
            (Score::Likelihood, mfa.log_likelihoods(&x).unwrap()),
        ];
        for (score, all) in scores {
            let of = |row: usize, k: usize| f64::from(all[row * 5 + k]);
            let found = |aggregate| mfa.strongest(&x, score, aggregate, &kinds, 8, |_| true).unwrap();
            for (k, own) in found(Aggregate::Occurrence).iter().enumerate() {
                let mut rows: Vec<usize> = (0..700).collect();
                rows.sort_by(|a, b| of(*b, k).total_cmp(&of(*a, k)));
                assert_eq!(own.iter().map(|own| own.row).collect::<Vec<_>>(), rows[..8]);
                assert!(own.iter().all(|own| own.score == of(own.row, k)));
            }
            for aggregate in [Aggregate::Max, Aggregate::Sum] {
                for (k, own) in found(aggregate).iter().enumerate() {
                    let total = |kind: u32| {
                        let rows = (0..700).filter(|row| kinds[*row] == kind).map(|row| of(row, k));
                        match aggregate {
                            Aggregate::Sum => rows.sum::<f64>(),
                            _ => rows.fold(f64::NEG_INFINITY, f64::max),
                        }
                    };
                    let mut totals: Vec<f64> = (0..9).map(total).collect();
                    totals.sort_by(|a, b| b.total_cmp(a));
                    let scores: Vec<f64> = own.iter().map(|own| own.score).collect();
                    assert_eq!(scores.len(), 8);
                    assert!(scores.iter().zip(&totals).all(|(a, b)| (a - b).abs() < 1e-9 * b.abs().max(1.0)));
                }
            }
        }
        let shares = mfa.responsibilities(&x, 1.0).unwrap();
        let assigned = mfa.assign(&x, |_| true).unwrap();
        for (shares, k) in shares.chunks(5).zip(&assigned) {
            assert!(shares.iter().all(|share| *share <= shares[*k as usize]));
        }
    }

    #[test]
    fn it_stops_when_told_and_refuses_kinds_of_other_rows() {
        let mfa = mixture(&mut Generator::new(4));
        let numbers = vec![0.5; 60];
        let x = Matrix::new(&numbers, 6);
        assert!(matches!(mfa.assign(&x, |_| false), Err(MfaError::Interrupted)));
        let kinds = mfa.strongest(&x, Score::Posterior, Aggregate::Sum, &[0; 9], 3, |_| true);
        assert!(matches!(kinds, Err(MfaError::Size { name: "kinds", found: 9, expected: 10 })));
    }
}
