//! Whether results of two machines are the same but for what rounding makes of them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::compare::{close, near};
use crate::data::npy::read_npy;
use crate::data::npz::Npz;

/// How two results that are not the same to the bit differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// In numbers that are near each other.
    Near,
    /// In the pixels of a picture, which fonts and rounding decide; the numbers behind it stand elsewhere.
    Drawn,
    /// In more.
    No,
}

impl From<bool> for Alike {
    fn from(near: bool) -> Alike {
        if near { Alike::Near } else { Alike::No }
    }
}

/// Of two files of this name.
pub fn files(name: &str, a: &[u8], b: &[u8]) -> Alike {
    let kind = Path::new(name).extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    match kind {
        "png" if png_size(a).is_some() && png_size(b).is_some() => Alike::Drawn,
        "npy" => arrays(read_npy(name, a).ok(), read_npy(name, b).ok()).into(),
        "npz" => members(npz(name, a), npz(name, b)).into(),
        "safetensors" => members(tensors(a), tensors(b)).into(),
        _ => match (std::str::from_utf8(a), std::str::from_utf8(b)) {
            (Ok(a), Ok(b)) => near(a, b).into(),
            _ => Alike::No,
        },
    }
}

/// An array's shape and numbers.
type Array = (Vec<usize>, Vec<f32>);

fn arrays(a: Option<Array>, b: Option<Array>) -> bool {
    let (Some((shape, a)), Some((other, b))) = (a, b) else { return false };
    let alike = |(x, y): (f32, f32)| x.to_bits() == y.to_bits() || close(f64::from(x), f64::from(y));
    shape == other && a.into_iter().zip(b).all(alike)
}

fn members(a: Option<BTreeMap<String, Array>>, b: Option<BTreeMap<String, Array>>) -> bool {
    let (Some(a), Some(mut b)) = (a, b) else { return false };
    a.len() == b.len() && a.into_iter().all(|(name, array)| arrays(Some(array), b.remove(&name)))
}

fn npz(name: &str, bytes: &[u8]) -> Option<BTreeMap<String, Array>> {
    let mut file = Npz::open(name, bytes).ok()?;
    file.members().into_iter().map(|member| Some((member.clone(), file.read(&member).ok()?))).collect()
}

fn tensors(bytes: &[u8]) -> Option<BTreeMap<String, Array>> {
    let array = |x: Tensor| {
        let numbers = x.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        candle_core::Result::Ok((x.dims().to_vec(), numbers))
    };
    let all = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).ok()?;
    all.into_iter().map(|(name, x)| Some((name, array(x).ok()?))).collect()
}

/// Width and height of a PNG.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let bytes = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((number(0)?, number(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::npy::write_npy;

    fn npy(shape: &[usize], numbers: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_npy(&mut bytes, shape, numbers).unwrap();
        bytes
    }

    #[test]
    fn arrays_are_alike_by_their_numbers() {
        let numbers = [1.0, -2500.0, f32::NAN, 0.25, f32::INFINITY, 3e-9];
        let a = npy(&[2, 3], &numbers);
        let with = |i: usize, x: f32| {
            let mut numbers = numbers;
            numbers[i] = x;
            npy(&[2, 3], &numbers)
        };
        for (b, alike) in [
            (with(1, -2501.0), Alike::Near),
            (with(1, -2504.0), Alike::No),
            (with(5, 0.0009), Alike::Near),
            (with(2, 1.0), Alike::No),
            (with(4, f32::NEG_INFINITY), Alike::No),
            (with(4, 1e38), Alike::No),
            (npy(&[3, 2], &numbers), Alike::No),
            (a[..a.len() - 1].to_vec(), Alike::No),
        ] {
            assert_eq!(files("a.npy", &a, &b), alike);
        }
        let tensors = |x: f32| {
            let x = Tensor::new(&[0.5, x], &Device::Cpu).unwrap();
            safetensors::serialize([("x", x)], None).unwrap()
        };
        assert_eq!(files("a.safetensors", &tensors(7.0), &tensors(7.001)), Alike::Near);
        assert_eq!(files("a.safetensors", &tensors(7.0), &tensors(7.1)), Alike::No);
        assert_eq!(files("a.json", b"[1.0]", b"[1.0001]"), Alike::Near);
        assert_eq!(files("a.bin", b"\xff1.0", b"\xff1.0001"), Alike::No);
    }

    #[test]
    fn pictures_may_have_other_pixels_and_must_be_pictures() {
        let mut picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0 and pixels".to_vec();
        assert_eq!(png_size(&picture), Some((640, 480)));
        let before = picture.clone();
        *picture.last_mut().unwrap() ^= 1;
        assert_eq!(files("a.png", &before, &picture), Alike::Drawn);
        assert_eq!(files("a.png", &before, b"no picture"), Alike::No);
    }
}
