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
    for (type_id, dtype, name) in TENSOR_TYPES {
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
