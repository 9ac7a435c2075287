//! Packed batches: the rows of all sequences lie end to end in `[rows, width]`, so that ragged lengths, suffixes
//! and decode steps cost no padding and a batch cannot change a result.

use super::error::Result;
use candle_core::{DType, Device, Tensor};
use std::ops::Range;
use std::sync::OnceLock;

/// Keys (after rotary) and values of positions, `[pos, n_kv_heads * d_head]` each; those of several runs end to end.
#[derive(Debug, Clone)]
pub struct Kv {
    pub k: Tensor,
    pub v: Tensor,
}

impl Kv {
    /// The keys and values of `len` rows from row `start` on.
    pub fn rows(&self, start: usize, len: usize) -> candle_core::Result<Kv> {
        Ok(Kv { k: self.k.narrow(0, start, len)?, v: self.v.narrow(0, start, len)? })
    }
}

/// One sequence of a batch: `len` rows at positions `past_len..past_len + len`, which also see the `past_len`
/// positions of another run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub len: usize,
    /// The row at which they start in the `past` that a layer is given; meaningless where `past_len` is 0.
    pub past: usize,
    pub past_len: usize,
}

/// Adjacent segments of one shape, computed as one batched product.
#[derive(Debug, Clone)]
pub struct Group {
    /// Index of the first segment and how many there are.
    pub first: usize,
    pub count: usize,
    pub rows: Range<usize>,
    pub segment: Segment,
    /// For layers without and with a window.
    masks: [OnceLock<Tensor>; 2],
}

/// The shape of a packed batch.
#[derive(Debug, Clone)]
pub struct Batch {
    segments: Vec<Segment>,
    starts: Vec<usize>,
    groups: Vec<Group>,
    rows: usize,
    /// See [`Batch::tiles`].
    tiles: OnceLock<Tensor>,
    /// See [`Batch::looks`].
    looks: OnceLock<Tensor>,
}

/// Scores or pattern of all segments of a batch, each segment's `[head, query, key]` end to end.
#[derive(Debug, Clone)]
pub struct Packed {
    /// `[numbers]`
    pub numbers: Tensor,
    /// Where each segment's start, and their shape.
    places: Vec<(usize, [usize; 3])>,
}

impl Packed {
    pub fn new(numbers: Tensor, batch: &Batch, n_heads: usize) -> Packed {
        let shapes = batch.segments.iter().map(|s| [n_heads, s.len, s.past_len + s.len]);
        let starts = starts(shapes.clone().map(|shape| shape.iter().product()));
        Packed { numbers, places: starts.into_iter().zip(shapes).collect() }
    }

    /// The same places with other numbers.
    pub fn with(&self, numbers: Tensor) -> Packed {
        Packed { numbers, places: self.places.clone() }
    }

    pub fn segments(&self) -> usize {
        self.places.len()
    }

    /// Where a segment's numbers start, and their shape `[head, query, key]`.
    pub fn place(&self, segment: usize) -> (usize, [usize; 3]) {
        self.places[segment]
    }

    /// A view of one segment's, `[head, query, key]`.
    pub fn segment(&self, segment: usize) -> candle_core::Result<Tensor> {
        let (start, shape) = self.places[segment];
        self.numbers.narrow(0, start, shape.iter().product())?.reshape(shape.as_slice())
    }
}

/// Where each of several runs of rows starts when they lie end to end.
pub fn starts(lens: impl Iterator<Item = usize>) -> Vec<usize> {
    lens.scan(0, |next, len| {
        let start = *next;
        *next += len;
        Some(start)
    })
    .collect()
}

impl Batch {
    pub fn new(segments: Vec<Segment>) -> Batch {
        let starts = starts(segments.iter().map(|s| s.len));
        let rows = segments.iter().map(|s| s.len).sum();
        let groups = groups(&segments, &starts);
        Batch { segments, starts, groups, rows, tiles: OnceLock::new(), looks: OnceLock::new() }
    }

    /// Whole prompts, each from its first position.
    pub fn prompts(lens: &[usize]) -> Batch {
        Batch::new(lens.iter().map(|&len| Segment { len, past: 0, past_len: 0 }).collect())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The rows of segment `index`.
    pub fn rows_of(&self, index: usize) -> Range<usize> {
        self.starts[index]..self.starts[index] + self.segments[index].len
    }

    /// The position of every row in its own sequence.
    pub fn positions(&self) -> Vec<u32> {
        self.segments.iter().flat_map(|s| (s.past_len..s.past_len + s.len).map(|p| p as u32)).collect()
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How many scores its queries have.
    pub fn scores(&self, n_heads: usize) -> usize {
        self.segments.iter().map(|s| n_heads * s.len * (s.past_len + s.len)).sum()
    }

    /// Of each row, `[rows, 8]` of `u32`: its segment's first row, how many that has, where its past starts, how long that is,
    /// which of its queries the row is, nothing, and in two words where the segment's scores start. Copied to the device
    /// once a batch.
    pub fn looks(&self, n_heads: usize, device: &Device) -> candle_core::Result<&Tensor> {
        if let Some(looks) = self.looks.get() {
            return Ok(looks);
        }
        let mut words = Vec::with_capacity(8 * self.rows);
        let mut place = 0;
        for (s, &start) in self.segments.iter().zip(&self.starts) {
            for query in 0..s.len {
                words.extend([start, s.len, s.past, s.past_len, query, 0].map(|n| n as u32));
                words.extend([place as u32, (place as u64 >> 32) as u32]);
            }
            place += n_heads * s.len * (s.past_len + s.len);
        }
        let looks = Tensor::from_vec(words, ((), 8), device)?;
        Ok(self.looks.get_or_init(|| looks))
    }

    /// The work of attention in tiles of `rows` query rows, `[tiles, 5]` of `u32`: a segment's first row, how many it has,
    /// where its past starts, how long that is, and which of its query rows comes first. They are counted with the `r`
    /// heads that share a key head innermost. Copied to the device once a batch, not once a layer: all layers have the
    /// same.
    pub fn tiles(&self, r: usize, rows: usize, device: &Device) -> candle_core::Result<&Tensor> {
        if let Some(tiles) = self.tiles.get() {
            return Ok(tiles);
        }
        let of_segment = |(s, &start): (&Segment, &usize)| {
            let [start, len, past, past_len] = [start, s.len, s.past, s.past_len].map(|n| n as u32);
            (0..s.len * r).step_by(rows).flat_map(move |first| [start, len, past, past_len, first as u32])
        };
        let words: Vec<u32> = self.segments.iter().zip(&self.starts).flat_map(of_segment).collect();
        let tiles = Tensor::from_vec(words, ((), 5), device)?;
        Ok(self.tiles.get_or_init(|| tiles))
    }
}

fn groups(segments: &[Segment], starts: &[usize]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, (segment, &start)) in segments.iter().zip(starts).enumerate() {
        let end = start + segment.len;
        match groups.last_mut() {
            Some(group) if group.segment == *segment => {
                group.count += 1;
                group.rows.end = end;
            }
            _ => groups.push(Group {
                first: index,
                count: 1,
                rows: start..end,
                segment: segment.clone(),
                masks: Default::default(),
            }),
        }
    }
    groups
}

/// The keys that a query at `position` sees.
pub fn seen(position: usize, window: Option<usize>) -> Range<usize> {
    let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
    first..position + 1
}

impl Group {
    /// `[len, past_len + len]`, 0 where a query sees a key and -inf where the key lies in its future or before its
    /// window; `None` where all are seen. Copied to the device once a batch, not once a layer: all layers with a
    /// window have the same.
    pub fn mask(&self, window: Option<usize>, dtype: DType, device: &Device) -> Result<Option<&Tensor>> {
        let Segment { len, past_len, .. } = self.segment;
        let keys = past_len + len;
        if len == 1 && window.is_none_or(|window| keys <= window) {
            return Ok(None);
        }
        let cached = &self.masks[usize::from(window.is_some())];
        if let Some(mask) = cached.get() {
            return Ok(Some(mask));
        }
        let entry = |i: usize, j: usize| {
            let seen = seen(past_len + i, window).contains(&j);
            if seen { 0.0 } else { f32::NEG_INFINITY }
        };
        let mask: Vec<f32> = (0..len).flat_map(|i| (0..keys).map(move |j| entry(i, j))).collect();
        let mask = Tensor::from_vec(mask, (len, keys), device)?.to_dtype(dtype)?;
        Ok(Some(cached.get_or_init(|| mask)))
    }
}
