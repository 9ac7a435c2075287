//! How a tensor prints: its shape and a few of its numbers.

use candle_core::DType;

use super::value::Tensor;

/// Numbers shown at either end of a longer axis.
const ENDS: usize = 3;
/// Rows stand on one line up to this many characters.
const LINE: usize = 80;

/// `Tensor [2, 2] [[1.0, 2.0], [3.0, 4.0]]`; long axes are cut, large tensors get a line a row.
pub(super) fn show(t: &Tensor) -> String {
    let dtype = match t.inner().dtype() {
        DType::F32 => String::new(),
        dtype => format!(" {}", dtype.as_str()),
    };
    let head = format!("Tensor {:?}{dtype}", t.dims());
    let Ok(numbers) = corner(t.inner()).and_then(|kept| kept.flatten_all()?.to_vec1::<f32>()) else {
        return head;
    };
    let whole = t.inner().dtype().is_int();
    let texts: Vec<String> = numbers.into_iter().map(|x| number(x, whole)).collect();
    let line = block(t.dims(), &mut texts.iter().cloned(), ", ", 0);
    if line.chars().count() <= LINE || t.dims().len() < 2 {
        return format!("{head} {line}");
    }
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let mut padded = texts.iter().map(|text| format!("{text:>width$}"));
    format!("{head}\n{}", block(t.dims(), &mut padded, "\n", 1))
}

/// The numbers that are shown, as float32: only these leave the device.
fn corner(t: &candle_core::Tensor) -> candle_core::Result<candle_core::Tensor> {
    let mut kept = t.clone();
    for (axis, len) in t.dims().iter().enumerate() {
        if *len > 2 * ENDS {
            let ends = [kept.narrow(axis, 0, ENDS)?, kept.narrow(axis, len - ENDS, ENDS)?];
            kept = candle_core::Tensor::cat(&ends, axis)?;
        }
    }
    kept.to_dtype(DType::F32)
}

/// Nested brackets around `texts`; rows are parted by `between`, and `depth` counts the brackets before.
fn block(dims: &[usize], texts: &mut impl Iterator<Item = String>, between: &str, depth: usize) -> String {
    let [len, inner @ ..] = dims else { return texts.next().unwrap_or_default() };
    let shown = (*len).min(2 * ENDS);
    let mut parts: Vec<String> = (0..shown).map(|_| block(inner, texts, between, depth + 1)).collect();
    if shown < *len {
        parts.insert(ENDS, "…".into());
    }
    let separator = match (inner, between) {
        ([], _) | (_, ", ") => ", ".to_string(),
        _ => format!(",\n{}", " ".repeat(depth)),
    };
    format!("[{}]", parts.join(&separator))
}

/// Up to four decimals; very large and very small numbers in powers of ten.
fn number(x: f32, whole: bool) -> String {
    let size = x.abs();
    if whole {
        return format!("{x}");
    }
    if x.is_finite() && x != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{x:.3e}");
    }
    let (short, full) = (format!("{x:.4}"), format!("{x:?}"));
    if full.len() <= short.len() { full } else { short }
}
