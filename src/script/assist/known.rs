//! What can be known of a value without computing it.

use rhai::{Array, Dynamic, Map};

use crate::script::args::type_of;

/// How deep maps and arrays in each other are looked into.
const DEPTH: usize = 3;
/// Entries of a map that are looked at.
const ENTRIES: usize = 200;

#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// It is of this type, or of one of several: `float | Tensor`.
    Of(String),
    /// A map with these entries.
    Map(Vec<(String, Known)>),
    /// An array, and its first element.
    Array(Option<Box<Known>>),
}

impl Known {
    pub fn value(value: &Dynamic) -> Self {
        Self::to_depth(value, DEPTH)
    }

    fn to_depth(value: &Dynamic, depth: usize) -> Self {
        if depth > 0 {
            if let Some(map) = value.read_lock::<Map>() {
                let entry =
                    |(key, value): (&_, &Dynamic)| (format!("{key}"), Self::to_depth(value, depth - 1));
                return Self::Map(map.iter().take(ENTRIES).map(|(key, value)| entry((key, value))).collect());
            }
            if let Some(items) = value.read_lock::<Array>() {
                return Self::Array(items.first().map(|first| Box::new(Self::to_depth(first, depth - 1))));
            }
        }
        Self::Of(type_of(value))
    }

    /// What a signature says of a result; nothing where it may be anything.
    pub fn result(ty: &str) -> Option<Self> {
        match ty {
            "any" | "()" => None,
            "array" => Some(Self::Array(None)),
            ty => Some(Self::Of(ty.into())),
        }
    }

    /// Whether it may be of this type.
    pub fn may_be(&self, ty: &str) -> bool {
        match self {
            Self::Of(types) => {
                types.split(" | ").any(|one| one == ty || one == "number" && ["int", "float"].contains(&ty))
            }
            Self::Map(_) => ty == "map",
            Self::Array(_) => ty == "array",
        }
    }
}
