//! The order of work: weights are packed once, as many columns at a time as fit the caches; then every task packs a
//! block of rows and goes over the columns in chunks whose sums stay in the nearer cache, a few steps along `in` at
//! a time. Operands lie in the order in which they are visited, so that those of the next visit can be fetched ahead.

use super::pack::{DEPTH, Matrix, Part, STRIP, Step, pack_rows};
use rayon::prelude::*;
use std::cell::{Cell, RefCell};
use std::ops::Range;

/// Strips of rows, at most, that one task keeps packed.
const BLOCK: usize = 8;
/// Strips of columns whose sums stay in the nearer cache together.
const CHUNK: usize = 12;
/// Steps along `in` between two visits of a sum: a strip of that depth fits the nearest cache.
const VISIT: usize = 6;
/// Bytes of packed weights, about, that are held at once.
const PANEL_BYTES: usize = 8 << 20;

/// Bytes that a step's work fetches ahead for later steps of the two operands: each strip of rows meets [`CHUNK`] strips
/// of columns before the next visit, and each of columns [`BLOCK`] of rows.
pub const fn ahead(parts: usize) -> [usize; 2] {
    let step = parts * size_of::<Part>();
    [(step / CHUNK).next_multiple_of(64), step / BLOCK]
}

/// What multiplies strips of numbers in so many parts: the unit, set up for this thread until dropped.
pub trait Multiplier<const PARTS: usize> {
    fn new() -> Self;

    /// Adds `a b`, a strip of rows by a strip of columns over some steps, to `sums`, which count as zeros without
    /// `more`. The result goes back to `sums`, or to `out` if that is given: an address and the entries from row to
    /// row.
    ///
    /// Meanwhile it fetches what will be wanted: [`ahead`] bytes a step from each of two places.
    ///
    /// Of parts 1, 2, 3 (from the most significant) it sums 1·3, 1·1, 1·2, 2·2, 2·1 and 3·1; of two 1·2, 1·1 and 2·1.
    ///
    /// # Safety
    /// At `out` 32 rows of 32 entries may be written.
    unsafe fn add_product(
        &self,
        a: &[Step<PARTS>],
        b: &[Step<PARTS>],
        sums: &mut [f32; STRIP * STRIP],
        more: bool,
        ahead: [*const u8; 2],
        out: Option<(*mut f32, usize)>,
    );
}

/// `x W` for each of the weights: `x` is `[rows, inner]`.
pub struct Product<'a> {
    pub x: &'a [f32],
    pub rows: usize,
    pub inner: usize,
    pub weights: &'a [Matrix<'a>],
}

/// 32 columns of one of the weights, or as many as are left.
#[derive(Clone, Copy)]
struct Columns {
    weight: usize,
    first: usize,
}

/// Where a strip of rows and a strip of columns meet.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    columns: Columns,
}

/// Where a result goes, shared by tasks that write different parts of it.
struct Out(*mut f32);
// SAFETY: every task writes rows and columns of its own, and none reads.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

/// The sums of a strip of rows and a strip of columns.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Sums([f32; STRIP * STRIP]);

/// What a task keeps packed and summed.
#[derive(Default)]
struct Scratch {
    rows: Vec<Part>,
    sums: Vec<Sums>,
}

thread_local! {
    // Fresh memory costs more than packing does, so that threads keep what they have.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static PANEL: Cell<Vec<Part>> = Cell::default();
}

impl Product<'_> {
    /// The results, `[rows, out]` each.
    pub fn run<M: Multiplier<PARTS>, const PARTS: usize>(&self) -> Vec<Vec<f32>> {
        let mut outs: Vec<Vec<f32>> =
            self.weights.iter().map(|weight| Vec::with_capacity(self.rows * weight.outer)).collect();
        let targets: Vec<Out> = outs.iter_mut().map(|out| Out(out.as_mut_ptr())).collect();
        let columns: Vec<Columns> = self
            .weights
            .iter()
            .enumerate()
            .flat_map(|(weight, matrix)| {
                (0..matrix.outer).step_by(STRIP).map(move |first| Columns { weight, first })
            })
            .collect();
        // Without entries along `in` the sums are empty, and still a result.
        let steps = self.inner.div_ceil(DEPTH).max(1);
        let strips = self.rows.div_ceil(STRIP);
        let threads = rayon::current_num_threads();
        let blocks = strips.div_ceil(BLOCK).max(threads.min(strips)).max(1);
        let held = CHUNK * (PANEL_BYTES / (CHUNK * steps * size_of::<Step<PARTS>>())).max(1);
        let mut panel = PANEL.take();
        grow(&mut panel, held.min(columns.len()) * steps * PARTS, Part::default());
        let panel_steps = panel.as_chunks_mut::<PARTS>().0;
        for columns in columns.chunks(held) {
            let packed = &mut panel_steps[..columns.len() * steps];
            packed.par_chunks_mut(CHUNK * steps).zip(columns.par_chunks(CHUNK)).for_each(
                |(packed, columns)| {
                    pack(columns, steps, packed, |columns, start, packed| {
                        self.weights[columns.weight].pack_columns(columns.first, start, packed);
                    });
                },
            );
            // Few blocks leave threads without work, so that their columns are divided too.
            let share = columns.len().div_ceil(threads.div_ceil(blocks)).next_multiple_of(CHUNK);
            let shares: Vec<_> = columns.chunks(share).zip(packed.chunks(share * steps)).collect();
            (0..blocks * shares.len()).into_par_iter().for_each(|task| {
                let block = task / shares.len();
                let rows = strips * block / blocks..strips * (block + 1) / blocks;
                let (columns, packed) = shares[task % shares.len()];
                self.task::<M, PARTS>(rows, columns, packed, &targets);
            });
        }
        PANEL.set(panel);
        for (out, weight) in outs.iter_mut().zip(self.weights) {
            // SAFETY: the tasks have written every entry of every row.
            unsafe { out.set_len(self.rows * weight.outer) };
        }
        outs
    }

    /// These strips of rows by these columns, which are `packed`.
    fn task<M: Multiplier<PARTS>, const PARTS: usize>(
        &self,
        rows: Range<usize>,
        columns: &[Columns],
        packed: &[Step<PARTS>],
        outs: &[Out],
    ) {
        let steps = packed.len() / columns.len();
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { rows: packed_rows, sums } = scratch;
            grow(packed_rows, rows.len() * steps * PARTS, Part::default());
            grow(sums, rows.len() * CHUNK, Sums([0.0; _]));
            let packed_rows = packed_rows.as_chunks_mut::<PARTS>().0;
            let strips: Vec<usize> = rows.collect();
            pack(&strips, steps, packed_rows, |strip, start, packed| {
                pack_rows(self.x, self.inner, strip * STRIP, start, packed);
            });
            let unit = M::new();
            for (columns, packed) in columns.chunks(CHUNK).zip(packed.chunks(CHUNK * steps)) {
                for visit in visits(steps) {
                    let last = visit.end == steps;
                    let a = &packed_rows[visit.start * strips.len()..visit.end * strips.len()];
                    let b = &packed[visit.start * columns.len()..visit.end * columns.len()];
                    // The next visit's operands follow in memory; after the last come the first rows again.
                    let next_a = if last { packed_rows.as_ptr() } else { a.as_ptr_range().end };
                    let mut next = [next_a.cast(), b.as_ptr_range().end.cast()];
                    for (i, (strip, a)) in strips.iter().zip(a.chunks(visit.len())).enumerate() {
                        for (j, (columns, b)) in columns.iter().zip(b.chunks(visit.len())).enumerate() {
                            let sums = &mut sums[i * CHUNK + j].0;
                            let place = Place { row: strip * STRIP, columns: *columns };
                            let whole = if last { self.whole(place, outs) } else { None };
                            // SAFETY: where all 32 rows and columns are part of the result no other task writes.
                            unsafe { unit.add_product(a, b, sums, visit.start > 0, next, whole) };
                            for (next, bytes) in next.iter_mut().zip(ahead(PARTS)) {
                                *next = next.wrapping_byte_add(bytes * visit.len());
                            }
                            if last && whole.is_none() {
                                self.store(sums, place, outs);
                            }
                        }
                    }
                }
            }
        });
    }

    /// Where a strip's sums go, and the entries from row to row there, if all of them are part of the result.
    fn whole(&self, place: Place, outs: &[Out]) -> Option<(*mut f32, usize)> {
        let Place { row, columns: Columns { weight, first } } = place;
        let outer = self.weights[weight].outer;
        let whole = row + STRIP <= self.rows && first + STRIP <= outer;
        whole.then(|| (outs[weight].0.wrapping_add(row * outer + first), outer))
    }

    /// Copies those of a strip's sums that are part of the result.
    fn store(&self, sums: &[f32; STRIP * STRIP], place: Place, outs: &[Out]) {
        let Place { row, columns: Columns { weight, first } } = place;
        let outer = self.weights[weight].outer;
        let width = STRIP.min(outer - first);
        for (row, sums) in (row..self.rows).zip(sums.chunks_exact(STRIP)) {
            // SAFETY: the row has `outer` entries, of which `width` follow `first`; no other task writes there.
            unsafe {
                let to = outs[weight].0.add(row * outer + first);
                std::ptr::copy_nonoverlapping(sums.as_ptr(), to, width);
            }
        }
    }
}

/// The steps of each visit.
fn visits(steps: usize) -> impl Iterator<Item = Range<usize>> {
    (0..steps).step_by(VISIT).map(move |start| start..steps.min(start + VISIT))
}

/// Packs strips in the order in which they are visited: visit by visit all strips, each with its steps. `one` packs
/// some steps of a strip from a given step on.
fn pack<T: Copy, const PARTS: usize>(
    strips: &[T],
    steps: usize,
    mut packed: &mut [Step<PARTS>],
    one: impl Fn(T, usize, &mut [Step<PARTS>]),
) {
    for visit in visits(steps) {
        for strip in strips {
            let (now, rest) = packed.split_at_mut(visit.len());
            one(*strip, visit.start, now);
            packed = rest;
        }
    }
}

fn grow<T: Clone>(buffer: &mut Vec<T>, len: usize, value: T) {
    if buffer.len() < len {
        buffer.resize(len, value);
    }
}
