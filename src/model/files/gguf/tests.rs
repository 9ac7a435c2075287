use super::*;

/// Writes a file as candle does: `general.architecture`, an array of strings, one F32 and one Q8_0 tensor.
fn sample() -> Vec<u8> {
    use candle_core::quantized::{QTensor, gguf_file};
    let device = Device::Cpu;
    let plain = Tensor::arange(0f32, 6., &device).and_then(|t| t.reshape((2, 3))).unwrap();
    let wide = Tensor::arange(0f32, 128., &device).and_then(|t| t.reshape((2, 64))).unwrap();
    let plain = QTensor::quantize(&plain, GgmlDType::F32).unwrap();
    let wide = QTensor::quantize(&wide, GgmlDType::Q8_0).unwrap();
    let arch = gguf_file::Value::String("llama".into());
    let words = gguf_file::Value::Array(["a", "b c", "é"].map(|s| gguf_file::Value::String(s.into())).into());
    let layers = gguf_file::Value::U64(3);
    let metadata = [("general.architecture", &arch), ("words", &words), ("llama.block_count", &layers)];
    let mut file = std::io::Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &[("plain", &plain), ("wide", &wide)]).unwrap();
    file.into_inner()
}

fn open(bytes: &[u8]) -> Result<Gguf> {
    let file = tempfile::NamedTempFile::with_suffix(".gguf").unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Gguf::open(file.path())
}

#[test]
fn reads_metadata_and_tensors() {
    let gguf = open(&sample()).unwrap();
    assert_eq!(gguf.arch(), "llama");
    assert_eq!(gguf.u32("llama.block_count").unwrap(), 3);
    assert_eq!(gguf.array_str("words").unwrap(), ["a", "b c", "é"]);
    assert_eq!(gguf.quantization(), "Q8_0");
    assert_eq!(gguf.tensor_names().collect::<Vec<_>>(), ["plain", "wide"]);
    assert_eq!(gguf.shape("wide"), Some([2, 64].as_slice()));
    let plain = gguf.tensor("plain", &Device::Cpu).unwrap();
    assert_eq!(plain.to_vec2::<f32>().unwrap(), [[0., 1., 2.], [3., 4., 5.]]);
    let wide = gguf.tensor("wide", &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
    assert!((wide[1][63] - 127.).abs() < 0.5, "{}", wide[1][63]);
}

#[test]
fn every_type_of_tensor_is_read() {
    use candle_core::quantized::{QTensor, gguf_file};
    let x = Tensor::randn(0f32, 1.0, (3, 512), &Device::Cpu).unwrap();
    for (type_id, format, name) in types::READABLE {
        // What candle cannot write has its own reference beside `Format`.
        let Format::Candle(dtype) = format else { continue };
        let quantised = QTensor::quantize(&x, dtype).unwrap();
        let expected = quantised.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        let arch = gguf_file::Value::String("llama".into());
        let mut file = std::io::Cursor::new(Vec::new());
        gguf_file::write(&mut file, &[("general.architecture", &arch)], &[("x", &quantised)]).unwrap();
        let gguf = open(&file.into_inner()).unwrap();
        assert_eq!(gguf.quantization(), name);
        let found = gguf.tensor("x", &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found, expected, "{name}, type {type_id}");
    }
}

#[test]
fn wrong_questions_are_errors() {
    let gguf = open(&sample()).unwrap();
    let problem = |error: GgufError| error.to_string().split_once("` ").unwrap().1.to_string();
    assert_eq!(
        problem(gguf.u32("general.architecture").unwrap_err()),
        "has metadata key `general.architecture` with a string, expected an unsigned 32-bit integer"
    );
    assert!(matches!(
        *gguf.array_f32("words").unwrap_err().problem,
        Problem::KeyType { found: "an array", .. }
    ));
    assert!(optional(gguf.f32("absent")).unwrap().is_none());
    assert_eq!(problem(gguf.tensor("absent", &Device::Cpu).unwrap_err()), "has no tensor `absent`");
}

#[test]
fn names_the_tensor_that_is_cut_off() {
    let bytes = sample();
    let message = open(&bytes[..bytes.len() - 60]).unwrap_err().to_string();
    assert!(message.contains("is truncated: tensor `wide` ends at byte"), "{message}");
    assert!(message.ends_with(&format!("the file has {}", bytes.len() - 60)), "{message}");
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    // The writer pads the last tensor (136 bytes) to a multiple of 32.
    for len in 0..bytes.len() - 24 {
        assert!(open(&bytes[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn no_corrupt_header_byte_panics() {
    let bytes = sample();
    let data_start = open(&bytes).unwrap().tensors["plain"].start;
    for at in 0..data_start {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            if let Ok(gguf) = open(&bytes) {
                let _ = gguf.array_str("words");
                for name in gguf.tensor_names() {
                    let _ = gguf.tensor(name, &Device::Cpu);
                }
            }
        }
    }
}

/// A file by its parts: type tags and little-endian values as the format has them.
fn written(keys: &[(&str, u32)], tensors: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.bytes());
    };
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((keys.len() as u64 + 1).to_le_bytes());
    text(&mut bytes, "general.architecture");
    bytes.extend(8u32.to_le_bytes());
    text(&mut bytes, "llama");
    for (key, value) in keys {
        text(&mut bytes, key);
        bytes.extend(4u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    let mut offset = 0;
    for (name, type_id, data) in tensors {
        text(&mut bytes, name);
        bytes.extend(1u32.to_le_bytes());
        bytes.extend((data.len() as u64 / 4).to_le_bytes());
        bytes.extend(type_id.to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        offset += data.len().next_multiple_of(32);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    for (_, _, data) in tensors {
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    bytes
}

#[test]
fn a_split_model_is_read_from_any_part() {
    let folder = tempfile::tempdir().unwrap();
    let values: [f32; 6] = [0.5, -1.0, 2.0, 3.5, -4.0, 5.0];
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let part = |no: u32, count: u32, name: &str, data: &[u8]| {
        let first: &[(&str, u32)] = if no == 0 { &[("llama.block_count", 7)] } else { &[] };
        let keys = [first, &[("split.no", no), ("split.count", count)]].concat();
        written(&keys, &[(name, 0, data)])
    };
    let path = |no: u32| folder.path().join(format!("m-{no:05}-of-00003.gguf"));
    let write = |no: u32, bytes: Vec<u8>| std::fs::write(path(no), bytes).unwrap();
    for (no, name) in [(1, "a"), (2, "b"), (3, "c")] {
        write(no, part(no - 1, 3, name, &bytes[8 * (no as usize - 1)..][..8]));
    }
    for no in 1..=3 {
        let gguf = Gguf::open(&path(no)).unwrap();
        assert_eq!((gguf.u32("llama.block_count").unwrap(), gguf.arch()), (7, "llama"));
        let read = |name| gguf.tensor(name, &Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!([read("a"), read("b"), read("c")].concat(), values);
    }

    let told = |no: u32| Gguf::open(&path(no)).map(|_| ()).unwrap_err();
    write(2, part(1, 3, "a", &bytes[..8]));
    assert!(told(1).to_string().ends_with("tensor `a` is in an earlier part too"), "{}", told(1));
    write(2, part(1, 2, "b", &bytes[..8]));
    assert!(told(3).to_string().ends_with("says that it is another: part 2 of 2"), "{}", told(3));
    std::fs::remove_file(path(2)).unwrap();
    let error = told(3);
    assert!(error.to_string().contains("is part 3 of 3 of a split model, of which there is no `"), "{error}");
    assert!(error.to_string().ends_with("m-00002-of-00003.gguf`") && error.help().unwrap().contains("00002"));
    let renamed = folder.path().join("model.gguf");
    std::fs::rename(path(1), &renamed).unwrap();
    let error = Gguf::open(&renamed).unwrap_err();
    assert!(error.help().unwrap().contains("`NAME-00001-of-00003.gguf`"), "{error}");
}

#[test]
fn a_type_that_is_not_read_is_named() {
    for (id, name) in
        [(28, "`F64`"), (9, "`Q8_1`"), (40, "`NVFP4`"), (31, "`Q4_0_4_4`"), (99, "number 99, which")]
    {
        let error = open(&written(&[], &[("w", id, &[0; 64])])).unwrap_err();
        assert!(error.to_string().contains(&format!("has tensor `w` of type {name}")), "{error}");
        assert!(error.help().unwrap().contains("IQ4_NL, IQ4_XS"));
    }
}
