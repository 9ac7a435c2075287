//! Which layers attend to the last `sliding_window` positions only.

use super::reader::Reader;
use crate::model::error::Result;
use crate::model::family::Windows;
use serde_json::Value;

/// The window and, of every layer, whether it has it.
pub fn read(reader: &Reader, windows: Windows, n_layers: usize) -> Result<(Option<usize>, Vec<bool>)> {
    const WINDOW: &str = "sliding_window";
    match windows {
        Windows::None => Ok((None, vec![false; n_layers])),
        Windows::All => {
            let window = reader.optional_size(WINDOW)?;
            Ok((window, vec![window.is_some(); n_layers]))
        }
        Windows::Late => {
            let used = reader.bool_or("use_sliding_window", false)?;
            // Both are written down even where they are not used.
            let (window, first) = (reader.get(WINDOW), reader.get("max_window_layers"));
            let types = layer_types(reader, n_layers)?;
            if !used {
                return match types {
                    Some(types) if types.contains(&true) => {
                        Err(reader.bad("use_sliding_window", "true, since `layer_types` has windows"))
                    }
                    _ => Ok((None, vec![false; n_layers])),
                };
            }
            let first = first.and_then(Value::as_u64).map(|first| first as usize);
            let late = || first.map(|first| (0..n_layers).map(|layer| layer >= first).collect());
            let types = types.or_else(late);
            let types = types.ok_or_else(|| reader.bad("max_window_layers", "a whole number"))?;
            Ok((window.map(|_| reader.size(WINDOW)).transpose()?, types))
        }
        Windows::AllBut(key, default) => {
            let pattern = match key {
                None => default,
                Some(key) => {
                    let with_underscore = reader.optional_size(&format!("_{key}"))?;
                    reader.optional_size(key)?.or(with_underscore).unwrap_or(default)
                }
            };
            let types = layer_types(reader, n_layers)?;
            let by_pattern = || (1..=n_layers).map(|nth| nth % pattern != 0).collect();
            Ok((Some(reader.size(WINDOW)?), types.unwrap_or_else(by_pattern)))
        }
    }
}

fn layer_types(reader: &Reader, n_layers: usize) -> Result<Option<Vec<bool>>> {
    const KEY: &str = "layer_types";
    let Some(types) = reader.array(KEY)? else { return Ok(None) };
    let windowed = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Some(true),
        Some("full_attention") => Some(false),
        _ => None,
    };
    let types = types.iter().map(windowed).collect::<Option<Vec<bool>>>();
    let types = types.filter(|types| types.len() == n_layers);
    let expected = "`full_attention` or `sliding_attention` for each layer";
    types.map(Some).ok_or_else(|| reader.bad(KEY, expected))
}
