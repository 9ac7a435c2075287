//! Attention of one batch as a parallel loop over groups and heads: scores, softmax and mixed values of a head
//! stay in one thread's cache, and what segments share is read where it lies.

use super::general::{At, multiply};
use super::simd::{exp, tanh, widest};
use super::with_slice;
use crate::model::batch::{self, Group, Kv};
use candle_core::{Result, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

/// Sizes and choices of one attention layer.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub d_head: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Then bounded by: `c tanh(score / c)`.
    pub softcap: Option<f32>,
    /// How many keys a query sees, up to its own; else all.
    pub window: Option<usize>,
}

/// A matrix inside a slice: `rows` rows of `cols` entries, `stride` apart.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> View<'a> {
    /// The matrix that starts at entry `from` of `values`.
    fn new(values: &'a [f32], from: usize, rows: usize, cols: usize, stride: usize) -> View<'a> {
        let values = &values[from..];
        assert!(rows == 0 || values.len() >= (rows - 1) * stride + cols, "a matrix reaches beyond its slice");
        View { values, rows, cols, stride }
    }
}

/// A matrix to write, likewise.
struct ViewMut<'a> {
    values: &'a mut [f32],
    stride: usize,
}

/// `out = a bᵀ`, or `out += a b` with `accumulate`.
fn scores(out: ViewMut, a: View, b: View) {
    assert_eq!(a.cols, b.cols);
    product(out, a, b, true, false);
}

fn mix(out: ViewMut, a: View, b: View, accumulate: bool) {
    assert_eq!(a.cols, b.rows);
    product(out, a, b, false, accumulate);
}

fn product(out: ViewMut, a: View, b: View, transposed: bool, accumulate: bool) {
    let n = if transposed { b.rows } else { b.cols };
    if a.rows == 0 || n == 0 {
        return;
    }
    assert!(out.values.len() >= (a.rows - 1) * out.stride + n, "a product reaches beyond its slice");
    let to = At { first: out.values.as_mut_ptr(), row: out.stride, column: 1 };
    let (row, column) = if transposed { (1, b.stride) } else { (b.stride, 1) };
    let b = At { first: b.values.as_ptr(), row, column };
    let [m, k] = [a.rows, a.cols];
    let a = At { first: a.values.as_ptr(), row: a.stride, column: 1 };
    // SAFETY: the assertions above and in `View::new` keep every index inside its slice, and `out` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe { multiply([m, k, n], to, a, b, accumulate, Parallelism::None) };
}

/// Everything a task reads.
struct Inputs<'a> {
    form: Form,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

/// `z` `[rows, n_heads * d_head]`.
///
/// `q` `[rows, n_heads * d_head]`, `own` and `past` `[.., n_kv_heads * d_head]`, all contiguous.
pub fn attend(form: Form, q: &Tensor, own: &Kv, past: Option<&Kv>, groups: &[Group]) -> Result<Tensor> {
    let width = form.n_heads * form.d_head;
    let mut z = vec![0f32; q.elem_count()];
    with_slice(q, |q| {
        with_slice(&own.k, |k| {
            with_slice(&own.v, |v| {
                let inputs = Inputs { form, q, k, v };
                let out = Output { z: z.as_mut_ptr(), len: z.len() };
                let tasks: Vec<(usize, usize)> =
                    (0..groups.len()).flat_map(|g| (0..form.n_heads).map(move |h| (g, h))).collect();
                let run = |&(g, head): &(usize, usize)| {
                    let group = &groups[g];
                    let columns = out.head(group, width, head * form.d_head);
                    task(&inputs, group, past, head, columns)
                };
                if groups.iter().map(|g| g.rows.len()).sum::<usize>() < 4 {
                    tasks.iter().try_for_each(run)
                } else {
                    tasks.par_iter().try_for_each(run)
                }
            })
        })
    })?;
    Tensor::from_vec(z, q.shape(), q.device())
}

/// The output, which tasks write in disjoint pieces: each its group's rows and its head's columns.
struct Output {
    z: *mut f32,
    len: usize,
}

// SAFETY: tasks write disjoint entries only (see `head`), and the vector outlives them.
unsafe impl Sync for Output {}

impl Output {
    fn head(&self, group: &Group, width: usize, column: usize) -> Columns {
        assert!(group.rows.end * width <= self.len, "a group reaches beyond the batch");
        // SAFETY: inside the vector by the assertion above.
        Columns { z: unsafe { self.z.add(group.rows.start * width + column) }, width }
    }
}

/// One head's columns of one group's rows.
struct Columns {
    z: *mut f32,
    width: usize,
}

/// One head of one group. In the comments: n segments of `len` rows after a past of P.
fn task(x: &Inputs, group: &Group, past: Option<&Kv>, head: usize, out: Columns) -> Result<()> {
    let Form { n_heads, n_kv_heads, d_head, .. } = x.form;
    let kv = head / (n_heads / n_kv_heads) * d_head;
    let (q_stride, kv_stride) = (n_heads * d_head, n_kv_heads * d_head);
    let (n, len, past_len) = (group.count, group.segment.len, group.segment.past_len);
    let (rows, keys) = (n * len, past_len + len);
    let start = group.rows.start;
    let q =
        |row: usize, rows| View::new(x.q, (start + row) * q_stride + head * d_head, rows, d_head, q_stride);
    let own = |values, row: usize| View::new(values, (start + row) * kv_stride + kv, len, d_head, kv_stride);

    let mut buffer = vec![0f32; rows * keys]; // [n * len, P + len]
    for i in 0..n {
        let out = ViewMut { values: &mut buffer[i * len * keys + past_len..], stride: keys };
        scores(out, q(i * len, len), own(x.k, i * len));
    }
    let past = match past_len {
        0 => None,
        _ => match past {
            Some(past) => Some(past.rows(group.segment.past, past_len)?),
            None => candle_core::bail!("a segment names a past that was not given"),
        },
    };
    if let Some(past) = &past {
        with_slice(&past.k, |k| {
            scores(
                ViewMut { values: &mut buffer, stride: keys },
                q(0, rows),
                View::new(k, kv, past_len, d_head, kv_stride),
            );
            Ok(())
        })?;
    }
    softmax(&mut buffer, keys, len, past_len, &x.form);

    let mut z = vec![0f32; rows * d_head];
    for i in 0..n {
        let pattern = View::new(&buffer, i * len * keys + past_len, len, len, keys);
        let out = ViewMut { values: &mut z[i * len * d_head..], stride: d_head };
        mix(out, pattern, own(x.v, i * len), false);
    }
    if let Some(past) = &past {
        with_slice(&past.v, |v| {
            let pattern = View::new(&buffer, 0, rows, past_len, keys);
            mix(
                ViewMut { values: &mut z, stride: d_head },
                pattern,
                View::new(v, kv, past_len, d_head, kv_stride),
                true,
            );
            Ok(())
        })?;
    }
    for (row, z) in z.chunks_exact(d_head).enumerate() {
        // SAFETY: row and columns are this task's own, inside the vector as `Output::head` asserted.
        unsafe { std::ptr::copy_nonoverlapping(z.as_ptr(), out.z.add(row * out.width), d_head) };
    }
    Ok(())
}

/// Softmax of scaled and bounded scores over the keys that each query may see; the others become 0.
fn softmax(buffer: &mut [f32], keys: usize, len: usize, past_len: usize, form: &Form) {
    widest(
        #[inline(always)]
        || {
            for (row, scores) in buffer.chunks_exact_mut(keys).enumerate() {
                let span = batch::seen(past_len + row % len, form.window);
                let (scores, future) = scores.split_at_mut(span.end);
                let (left, seen) = scores.split_at_mut(span.start);
                let scale = match form.softcap {
                    None => form.scale,
                    Some(cap) => {
                        for s in seen.iter_mut() {
                            *s = cap * tanh(*s * form.scale / cap);
                        }
                        1.0
                    }
                };
                let mut max = f32::NEG_INFINITY;
                for &s in seen.iter() {
                    max = if s > max { s } else { max };
                }
                for s in seen.iter_mut() {
                    *s = exp((*s - max) * scale);
                }
                let total = 1.0 / super::elementwise::sum(seen, |s| s);
                for s in seen.iter_mut() {
                    *s *= total;
                }
                left.fill(0.0);
                future.fill(0.0);
            }
        },
    );
}
