//! Arrays of float32 in NumPy's `.npy` format.
//!
//! Written as version 1.0, `<f4`, C order. Read from any version, either order of axes and either order of bytes, also
//! from floats of 2 and 8 bytes, ints with and without sign, and booleans (0 and 1), if every number is exactly a
//! float32. A file is believed only as far as its size bears out:
//! nothing is allocated on a header's word.

use std::io::{self, Write};

use half::f16;
use ndarray::{ArrayViewD, IxDyn, ShapeBuilder};
use ndarray_npy::WriteNpyExt;
use ndarray_npy::npy::header::{Header, Layout};

/// NumPy's own limit on a header's length, in bytes.
const MAX_HEADER: usize = 10_000;

/// Brackets in a header: one dictionary, one shape, and room for a few fields of a structured type.
const MAX_BRACKETS: usize = 8;

/// Why bytes are no array of float32.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    #[error("`{name}` is not an npy file: {reason}")]
    Header { name: String, reason: String },
    #[error("`{name}` holds `{dtype}`, not plain numbers")]
    Type { name: String, dtype: String },
    #[error("`{name}` is damaged: shape {shape:?} needs {expected} bytes, found {found}")]
    Size { name: String, shape: Vec<usize>, expected: usize, found: usize },
    #[error("`{name}` has an impossible shape: {shape:?}")]
    Shape { name: String, shape: Vec<usize> },
    #[error("`{name}` holds {number} (number {index} in the file), which is not exactly a float32")]
    Inexact { name: String, number: String, index: usize },
}

/// Write `data`, row-major, as an array of shape `shape`; `InvalidInput` if their sizes disagree.
pub fn write_npy(to: impl Write, shape: &[usize], data: &[f32]) -> io::Result<()> {
    let array = ArrayViewD::from_shape(IxDyn(shape), data)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    array.write_npy(to).map_err(|error| match error {
        ndarray_npy::WriteNpyError::Io(error) => error,
        other => io::Error::other(other),
    })
}

/// The shape and the numbers, row-major, of the npy file with these bytes; `name` is what errors call it.
pub fn read_npy(name: &str, bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), NpyError> {
    let (header, body) = split(bytes).map_err(|reason| NpyError::Header { name: name.into(), reason })?;
    let (dtype, shape) = (header.type_descriptor, header.shape);
    let described = dtype.as_string().map(String::as_str).unwrap_or_default();
    let kind = match described.split_at_checked(1) {
        Some(("<" | "|", kind)) => Some((kind, false)),
        Some((">", kind)) => Some((kind, true)),
        _ => None,
    };
    let Some((kind, big)) = kind else { return Err(alien(name, &dtype.to_string())) };
    match kind {
        "f2" => numbers(name, &shape, body, big, |bytes| Ok(f16::from_le_bytes(bytes).to_f32())),
        "f4" => numbers(name, &shape, body, big, |bytes| Ok(f32::from_le_bytes(bytes))),
        "f8" => numbers(name, &shape, body, big, |bytes| {
            let x = f64::from_le_bytes(bytes);
            let near = x as f32;
            if f64::from(near) == x || x.is_nan() { Ok(near) } else { Err(x.to_string()) }
        }),
        "b1" => numbers(name, &shape, body, big, |[byte]: [u8; 1]| Ok(f32::from(u8::from(byte != 0)))),
        "i1" => numbers(name, &shape, body, big, |bytes| exact(i8::from_le_bytes(bytes))),
        "i2" => numbers(name, &shape, body, big, |bytes| exact(i16::from_le_bytes(bytes))),
        "i4" => numbers(name, &shape, body, big, |bytes| exact(i32::from_le_bytes(bytes))),
        "i8" => numbers(name, &shape, body, big, |bytes| exact(i64::from_le_bytes(bytes))),
        "u1" => numbers(name, &shape, body, big, |bytes| exact(u8::from_le_bytes(bytes))),
        "u2" => numbers(name, &shape, body, big, |bytes| exact(u16::from_le_bytes(bytes))),
        "u4" => numbers(name, &shape, body, big, |bytes| exact(u32::from_le_bytes(bytes))),
        "u8" => numbers(name, &shape, body, big, |bytes| exact(u64::from_le_bytes(bytes))),
        _ => Err(alien(name, &dtype.to_string())),
    }
    .map(|data| match header.layout {
        Layout::Standard => data,
        Layout::Fortran => row_major(&shape, data),
    })
    .map(|data| (shape, data))
}

fn alien(name: &str, dtype: &str) -> NpyError {
    NpyError::Type { name: name.into(), dtype: dtype.replace('\'', "") }
}

/// The header and the bytes after it, or why there is none.
fn split(bytes: &[u8]) -> Result<(Header, &[u8]), String> {
    // Checked here because the header's parser trusts its length and recurses at every bracket.
    let (start, len) = match *bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (10, u32::from_le_bytes([a, b, 0, 0])),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([a, b, c, d]))
        }
        _ => return Err("it does not start like one".into()),
    };
    let end = usize::try_from(len).ok().filter(|len| *len <= MAX_HEADER).map(|len| start + len);
    let (head, body) = end.and_then(|end| bytes.split_at_checked(end)).ok_or("its header is cut off")?;
    let brackets = head.iter().skip(start).filter(|byte| b"([{".contains(byte)).count();
    if brackets > MAX_BRACKETS || head.contains(&b'\\') {
        return Err("its header describes no array".into());
    }
    let header = Header::from_reader(&mut &*head).map_err(|error| error.to_string())?;
    Ok((header, body))
}

/// The numbers in `body`, which must be exactly as many as `shape` says. `number` reads little-endian bytes, to which
/// `big`-endian ones are turned.
fn numbers<const WIDTH: usize>(
    name: &str,
    shape: &[usize],
    body: &[u8],
    big: bool,
    number: impl Fn([u8; WIDTH]) -> Result<f32, String>,
) -> Result<Vec<f32>, NpyError> {
    // Like NumPy and ndarray: the product over the axes that are not empty must fit, too.
    let expected = shape
        .iter()
        .filter(|len| **len > 0)
        .try_fold(WIDTH, |bytes, len| bytes.checked_mul(*len))
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or_else(|| NpyError::Shape { name: name.into(), shape: shape.into() })?;
    let expected = if shape.contains(&0) { 0 } else { expected };
    if body.len() != expected {
        return Err(NpyError::Size { name: name.into(), shape: shape.into(), expected, found: body.len() });
    }
    let (chunks, _) = body.as_chunks::<WIDTH>();
    let inexact = |index, number| NpyError::Inexact { name: name.into(), number, index };
    let read = |(i, chunk): (usize, &[u8; WIDTH])| {
        let mut bytes = *chunk;
        if big {
            bytes.reverse();
        }
        number(bytes).map_err(|text| inexact(i, text))
    };
    chunks.iter().enumerate().map(read).collect()
}

/// `x` as a float32, or its digits if that would round it.
fn exact(x: impl Into<i128>) -> Result<f32, String> {
    let x = x.into();
    let near = x as f32;
    if near as i128 == x { Ok(near) } else { Err(x.to_string()) }
}

/// Numbers in Fortran order, the first axis fastest, put in C order, the last axis fastest.
fn row_major(shape: &[usize], data: Vec<f32>) -> Vec<f32> {
    match ArrayViewD::from_shape(IxDyn(shape).f(), &data) {
        Ok(array) => array.iter().copied().collect(),
        Err(_) => data,
    }
}

#[cfg(test)]
mod tests {
    use crate::help::Help;
    use ndarray::{Array, arr0, arr2};
    use proptest::prelude::*;

    use super::*;

    fn bytes(array: &impl WriteNpyExt) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    }

    /// A version 1.0 file with this header and body.
    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(header.len() + 1).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), b"\n", body].concat()
    }

    #[test]
    fn writes_version_one_little_endian_c_order() {
        let mut written = Vec::new();
        write_npy(&mut written, &[2, 1], &[1.0, -2.0]).unwrap();
        assert_eq!(written.len(), 128 + 8);
        let header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)";
        assert!(written.starts_with(header));
        assert!(written.ends_with(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]));
        let error = write_npy(&mut written, &[3], &[1.0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn reads_other_types_if_exact() {
        let read = |bytes: &[u8]| read_npy("x.npy", bytes);
        assert_eq!(read(&bytes(&arr0(0.5_f64))).unwrap(), (vec![], vec![0.5]));
        assert_eq!(read(&bytes(&arr2(&[[1_i32, -2]]))).unwrap(), (vec![1, 2], vec![1.0, -2.0]));
        assert_eq!(read(&bytes(&arr0(1_i64 << 40))).unwrap().1, [1_099_511_627_776.0]);
        assert!(read(&bytes(&arr0(f64::NAN))).unwrap().1[0].is_nan());
        for inexact in
            [bytes(&arr0(0.1_f64)), bytes(&arr0(1e300)), bytes(&arr0(i64::MAX)), bytes(&arr0(16_777_217_i32))]
        {
            assert!(matches!(read(&inexact), Err(NpyError::Inexact { index: 0, .. })));
        }
        let error = read(&bytes(&arr2(&[[1.0, 0.1]]))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x.npy` holds 0.1 (number 1 in the file), which is not exactly a float32"
        );
        assert_eq!(
            error.help().unwrap(),
            "convert it first, with NumPy's `.astype(np.float32)`, and save it again"
        );
        let error =
            read(&file("{'descr': '<c8', 'fortran_order': False, 'shape': ()}", &[0; 8])).unwrap_err();
        assert_eq!(error.to_string(), "`x.npy` holds `<c8`, not plain numbers");
    }

    /// `tests/fixtures/make_npz.py` wrote the arrays with NumPy.
    #[test]
    fn every_plain_type_of_numpy_reads_in_either_order() {
        const TYPES: &[u8] = include_bytes!("../../tests/fixtures/types.npz");
        let mut npz = crate::data::npz::Npz::open("types.npz", TYPES).unwrap();
        let members = npz.members();
        assert_eq!(members.len(), 42);
        for member in members {
            let (shape, data) = npz.read(&member).unwrap();
            let expected: &[f32] = match member.as_str() {
                bools if bools.starts_with("bool") => &[0.0, 1.0, 1.0, 0.0, 1.0, 0.0],
                ints if ints.starts_with("uint") => &[0.0, 1.0, 2.0, 100.0, 50.0, 7.0],
                ints if ints.starts_with("int") => &[0.0, 1.0, -2.0, 100.0, -50.0, 7.0],
                _ => &[0.0, 1.5, -2.0, 100.0, -0.25, 7.0],
            };
            assert_eq!((&shape[..], &data[..]), (&[2, 3][..], expected), "{member}");
        }
    }

    #[test]
    fn alien_and_damaged_files_are_told_apart() {
        let told = |bytes: &[u8]| read_npy("x.npy", bytes).unwrap_err().to_string();
        assert_eq!(told(b"PK\x03\x04"), "`x.npy` is not an npy file: it does not start like one");
        let mut whole = Vec::new();
        write_npy(&mut whole, &[2, 3], &[0.0; 6]).unwrap();
        assert_eq!(told(&whole[..40]), "`x.npy` is not an npy file: its header is cut off");
        assert_eq!(
            told(&whole[..whole.len() - 1]),
            "`x.npy` is damaged: shape [2, 3] needs 24 bytes, found 23"
        );
        let huge = file("{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000, 9000000000)}", &[]);
        assert_eq!(told(&huge), "`x.npy` has an impossible shape: [9000000000, 9000000000]");
        let big = file("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}", &[0; 8]);
        assert_eq!(
            told(&big),
            "`x.npy` is damaged: shape [1000000000000] needs 4000000000000 bytes, found 8"
        );
        let deep = file(&"{".repeat(9_000), &[]);
        assert_eq!(told(&deep), "`x.npy` is not an npy file: its header describes no array");
        let endless = [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes()].concat();
        assert_eq!(told(&endless), "`x.npy` is not an npy file: its header is cut off");
    }

    proptest! {
        #[test]
        fn arrays_of_any_rank_read_back(
            (shape, data) in prop::collection::vec(0_usize..4, 0..5).prop_flat_map(|shape| {
                let size = shape.iter().product::<usize>();
                (Just(shape), prop::collection::vec(any::<f32>(), size))
            }),
        ) {
            let mut written = Vec::new();
            write_npy(&mut written, &shape, &data).unwrap();
            let (read_shape, read) = read_npy("x", &written).unwrap();
            prop_assert_eq!(&read_shape, &shape);
            let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&data));
        }

        #[test]
        fn fortran_order_reads_as_c_order(rows in 1_usize..5, columns in 1_usize..5, depth in 1_usize..3) {
            let size = rows * columns * depth;
            let data: Vec<f32> = (0..size).map(|i| i as f32).collect();
            let c = Array::from_shape_vec((rows, columns, depth), data.clone()).unwrap();
            let mut fortran = Array::zeros((rows, columns, depth).f());
            fortran.assign(&c);
            let (shape, read) = read_npy("x", &bytes(&fortran)).unwrap();
            prop_assert_eq!(shape, vec![rows, columns, depth]);
            prop_assert_eq!(read, data);
        }

        #[test]
        fn no_bytes_make_it_panic(
            cut in 0_usize..100,
            edits in prop::collection::vec((0_usize..100, any::<u8>()), 0..6),
        ) {
            let mut written = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", &[0; 24]);
            for (at, byte) in edits {
                let at = at % written.len();
                written[at] = byte;
            }
            written.truncate(written.len() - cut.min(written.len()));
            let _ = read_npy("x", &written);
        }

        #[test]
        fn no_header_makes_it_panic(header in "[{}()\\[\\]'\",:<>f48iLTrueFalsn\\-+jxob_.0-9 \\\\]{0,60}") {
            let _ = read_npy("x", &file(&header, &[0; 8]));
        }
    }
}
