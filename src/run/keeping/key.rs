//! What decides the bits of a result. Where that cannot be said, of closures of a script and of autoencoders, there is no
//! key.

use crate::cache::Key;
use crate::model::Model;
use crate::run::asking::patch::{Edit, Write};
use crate::run::asking::select::Cols;
use crate::run::control::Control;
use candle_core::{DType, Tensor};
use std::hash::{Hash, Hasher};

/// A key that holds the model already; `None` where nothing is kept.
pub fn of(control: &Control, model: &Model, kind: &'static str) -> Option<Key> {
    let identity = control.cache.as_ref().and(model.identity.as_ref())?;
    let mut key = Key::new(kind);
    identity.hash(&mut key);
    Some(key)
}

/// Takes in writes, with the values that they bring.
pub fn writes(key: &mut Key, writes: &[Write]) -> Option<()> {
    writes.len().hash(key);
    for Write { selection, edit, .. } in writes {
        (selection.at, &selection.rows).hash(key);
        match &selection.cols {
            Cols::All => 0u8.hash(key),
            Cols::Heads { heads, .. } => (1u8, heads).hash(key),
            Cols::Neuron(neuron) => (2u8, neuron).hash(key),
            Cols::Features(_) => return None,
        }
        match edit {
            Edit::Set(value) => ("set", self::tensor(key, value)?).hash(key),
            Edit::Add(value) => ("add", self::tensor(key, value)?).hash(key),
            Edit::Lerp(value, a) => ("lerp", a.to_bits(), self::tensor(key, value)?).hash(key),
            Edit::Scale(a) => ("scale", a.to_bits()).hash(key),
            Edit::Zero => "zero".hash(key),
            Edit::ProjectOut(direction) => ("project_out", self::tensor(key, direction)?).hash(key),
            Edit::Each(_) | Edit::Func(_) => return None,
        }
    }
    Some(())
}

/// Takes in a tensor.
pub fn tensor(key: &mut Key, x: &Tensor) -> Option<()> {
    (x.dims(), x.dtype().as_str()).hash(key);
    // Wide enough for every type that is not wider itself.
    let wide = if x.dtype().size_in_bytes() > 4 { DType::F64 } else { DType::F32 };
    let x = x.flatten_all().and_then(|x| x.to_dtype(wide)).ok()?;
    if wide == DType::F64 {
        x.to_vec1::<f64>().ok()?.iter().for_each(|number| key.write_u64(number.to_bits()));
    } else {
        x.to_vec1::<f32>().ok()?.iter().for_each(|number| key.write_u32(number.to_bits()));
    }
    Some(())
}
