//! Text files as people save them: UTF-8, with or without a byte order mark.

/// Why bytes are no UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotUtf8 {
    #[error("UTF-16 text, by its byte order mark")]
    Utf16,
    #[error("not utf-8 text: the first bad byte is at offset {offset}")]
    Byte { offset: usize },
}

impl NotUtf8 {
    /// What the bytes may be instead, as `iconv` calls it.
    pub fn encoding(self) -> &'static str {
        match self {
            NotUtf8::Utf16 => "utf-16",
            NotUtf8::Byte { .. } => "latin1",
        }
    }
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// Bytes in another encoding.
pub fn text(bytes: Vec<u8>) -> Result<String, NotUtf8> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(NotUtf8::Utf16);
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|error| NotUtf8::Byte { offset: error.utf8_error().valid_up_to() })?;
    let mark = text.len() - without_mark(&text).len();
    text.drain(..mark);
    Ok(text)
}

/// `text` without the byte order mark that it may begin with.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_dropped_and_another_encoding_is_named() {
        assert_eq!(text("\u{feff}é\u{feff}".into()).unwrap(), "é\u{feff}");
        assert_eq!(text(vec![]).unwrap(), "");
        let utf16: Vec<u8> = "\u{feff}let".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text(utf16), Err(NotUtf8::Utf16));
        assert_eq!(text(b"caf\xe9".to_vec()), Err(NotUtf8::Byte { offset: 3 }));
    }
}
