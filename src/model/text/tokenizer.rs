//! Text to token ids and back, as the model's own tokenizer does it.
//!
//! It is read from `tokenizer.json`, whose steps are held within [`bounds`], or [`from_gguf`]; [`guard`] stands between
//! us and a library that panics on some files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value as Json;
use tokenizers::{Encoding, Tokenizer as Pipeline};

use crate::model::gguf::{Gguf, GgufError};
use crate::model::inside;

mod bounds;
mod from_gguf;
mod guard;

use guard::guarded;

/// What is wrong with a tokenizer's files, or with a text given to it.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("`{}` has no `tokenizer.json`", folder.display())]
    Missing { folder: PathBuf },
    #[error("cannot read `{}`: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("cannot read `{}`: {reason}", path.display())]
    LeadsOut { path: PathBuf, reason: String, help: String },
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("the tokenizer in `{}`: {reason}", path.display())]
    Metadata { path: PathBuf, reason: String },
    #[error("cannot read {what} `{name}` in `{}`, only {known}", path.display())]
    UnknownKind { path: PathBuf, what: &'static str, name: String, known: String },
    #[error("cannot encode the text: {0}")]
    Encode(String),
    #[error("the model has no beginning-of-sequence token")]
    NoBos,
    #[error("an empty string is no token")]
    NoToken,
    #[error("`{text}` is {} tokens: {}", pieces.len(), quoted(pieces))]
    SeveralTokens { text: String, pieces: Vec<String>, single: Vec<String> },
}

/// Pieces of a text in back quotes, one after the other.
pub fn quoted(pieces: &[String]) -> String {
    pieces.iter().map(|piece| format!("`{piece}`")).collect::<Vec<_>>().join(" ")
}

type Result<T> = std::result::Result<T, TokenizerError>;

/// Whether `encode` puts the beginning-of-sequence token first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bos {
    /// As the model's own tokenizer does.
    #[default]
    Auto,
    Yes,
    No,
}

/// A model's tokenizer.
pub struct Tokenizer {
    pipeline: Pipeline,
    /// The same, but special tokens in a text are plain text. Built when first asked for.
    plain: OnceLock<Pipeline>,
    /// Whether the pipeline itself puts BOS first.
    pipeline_bos: bool,
    /// Whether `Bos::Auto` puts BOS first.
    auto_bos: bool,
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
    /// A space that the decoder strips from the start of every text.
    stripped: Option<u32>,
}

/// Bytes that the text of one token may have; a longer one is not read to its end to see that it is several.
const LONGEST_TOKEN: usize = 4096;

impl Tokenizer {
    /// Reads `tokenizer.json`; ids of special tokens come from `tokenizer_config.json`, `special_tokens_map.json`,
    /// `config.json` and `generation_config.json`, in this order. The ends of sequence of all of them count.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let bytes = inside::read(&path).map_err(|error| unreadable(&path, &error))?;
        let bytes = bytes.ok_or_else(|| TokenizerError::Missing { folder: folder.into() })?;
        let sources = [
            read_json(&folder.join("tokenizer_config.json"))?,
            read_json(&folder.join("special_tokens_map.json"))?,
            read_json(&folder.join("config.json"))?,
            read_json(&folder.join("generation_config.json"))?,
        ];
        Self::from_json(&path, &bytes, &sources)
    }

    /// The text of a `tokenizer.json`, and the files that name special tokens, the one that counts most first. `path`
    /// is for errors.
    pub fn from_json(path: &Path, tokenizer: &[u8], sources: &[Json]) -> Result<Self> {
        let file = |reason: String| TokenizerError::File { path: path.into(), reason };
        if let Some(reason) = bounds::problem(tokenizer) {
            return Err(file(reason));
        }
        let mut pipeline = guarded(|| Pipeline::from_bytes(tokenizer))
            .map_err(|panic| file(format!("it contradicts itself ({panic})")))?
            .map_err(|error| file(error.to_string()))?;
        // As in transformers, what the file says about them is not for prompts.
        pipeline.with_padding(None);
        pipeline.with_truncation(None).map_err(|error| file(error.to_string()))?;
        let ids = |role: &str| special_ids(&pipeline, sources, role);
        let (bos, eos, pad) = (ids("bos").first().copied(), ids("eos"), ids("pad").first().copied());
        let add_bos = sources.first().and_then(|config| config["add_bos_token"].as_bool());
        Self::new(pipeline, bos, eos, pad, add_bos)
    }

    /// Builds the tokenizer that the file's metadata describes; `None` if it describes none.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>> {
        if gguf.has("tokenizer.ggml.model") { from_gguf::build(gguf).map(Some) } else { Ok(None) }
    }

    /// `add_bos` overrules what the pipeline does by itself.
    fn new(
        pipeline: Pipeline,
        bos: Option<u32>,
        eos: Vec<u32>,
        pad: Option<u32>,
        add_bos: Option<bool>,
    ) -> Result<Self> {
        let empty = encode(&pipeline, "", true)?;
        let pipeline_bos = bos.is_some() && empty.get_ids().first().copied() == bos;
        let auto_bos = bos.is_some() && add_bos.unwrap_or(pipeline_bos);
        let space = pipeline.token_to_id("▁");
        let stripped = space.filter(
            |space| matches!(guarded(|| pipeline.decode(&[*space], false)), Ok(Ok(text)) if text.is_empty()),
        );
        Ok(Self { pipeline, plain: OnceLock::new(), pipeline_bos, auto_bos, bos, eos, pad, stripped })
    }

    /// Ids of a text. `special`: whether special tokens spelled out in it (`<|im_start|>`) become their ids; otherwise
    /// they are encoded like any other text.
    pub fn encode(&self, text: &str, bos: Bos, special: bool) -> Result<Vec<u32>> {
        let wanted = match bos {
            Bos::Auto => self.auto_bos,
            Bos::Yes => true,
            Bos::No => false,
        };
        let pipeline =
            if special { &self.pipeline } else { self.plain.get_or_init(|| self.without_specials()) };
        // `Bos::No` is transformers' `add_special_tokens=False`: what else the pipeline would add goes too.
        let add = bos != Bos::No && (wanted || !self.pipeline_bos);
        let encoding = encode(pipeline, text, add)?;
        let mut ids = encoding.get_ids().to_vec();
        if wanted && !self.pipeline_bos {
            ids.insert(0, self.bos.ok_or(TokenizerError::NoBos)?);
        }
        // A text that brings its own, as chat templates write it, gets no second one unless that is asked for.
        if bos == Bos::Auto && ids.len() > 1 && wanted && ids[..2].iter().all(|id| Some(*id) == self.bos) {
            ids.remove(0);
        }
        Ok(ids)
    }

    fn without_specials(&self) -> Pipeline {
        let mut pipeline = self.pipeline.clone();
        pipeline.set_encode_special_tokens(true);
        pipeline
    }

    /// Text of the ids, special tokens included; ids outside the vocabulary are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_with(ids, false)
    }

    pub fn decode_skip_special(&self, ids: &[u32]) -> String {
        self.decode_with(ids, true)
    }

    fn decode_with(&self, ids: &[u32], skip_special: bool) -> String {
        // Only decoders that our pipelines do not use can fail.
        guarded(|| self.pipeline.decode(ids, skip_special).unwrap_or_default()).unwrap_or_default()
    }

    /// Text of each id alone; an id that is a part of a UTF-8 character gives U+FFFD.
    pub fn decode_each(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|id| self.decode_one(*id)).collect()
    }

    /// What each id is alone.
    pub fn pieces(&self, ids: &[u32]) -> Vec<Piece> {
        let piece = |id: &u32| {
            let text = self.decode_one(*id);
            let broken = text.contains(char::REPLACEMENT_CHARACTER);
            Piece { part: if broken { self.bytes(*id) } else { None }, text }
        };
        ids.iter().map(piece).collect()
    }

    /// The bytes that a token of the vocabulary stands for, in either spelling: `<0xE6>` (SentencePiece), or a letter for
    /// each byte (byte-level encoding).
    fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.pipeline.id_to_token(id)?;
        if let Some(hex) = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
            return u8::from_str_radix(hex, 16).ok().map(|byte| vec![byte]);
        }
        token.chars().map(byte_of).collect()
    }

    /// The space that a token begins with is a part of its text, though not at the start of a whole text.
    fn decode_one(&self, id: u32) -> String {
        match self.stripped {
            Some(space) => self.decode(&[space, id]),
            None => self.decode(&[id]),
        }
    }

    /// The id of a text that is exactly one token (no BOS counted).
    pub fn single(&self, text: &str) -> Result<u32> {
        if text.len() > LONGEST_TOKEN {
            let start = &text[..text.floor_char_boundary(LONGEST_TOKEN)];
            let pieces = self.decode_each(&self.encode(start, Bos::No, true)?);
            return Err(TokenizerError::SeveralTokens {
                text: format!("{start}…"), pieces, single: vec![]
            });
        }
        let ids = self.encode(text, Bos::No, true)?;
        match ids.as_slice() {
            [id] => Ok(*id),
            [] => Err(TokenizerError::NoToken),
            _ => {
                let single = spellings(text).into_iter().filter(|s| self.is_single(s)).collect();
                let pieces = self.decode_each(&ids);
                Err(TokenizerError::SeveralTokens { text: text.into(), pieces, single })
            }
        }
    }

    fn is_single(&self, text: &str) -> bool {
        self.encode(text, Bos::No, true).is_ok_and(|ids| ids.len() == 1)
    }

    /// Ids of those of {word, Word, WORD, each with and without a leading space} that are one token, in this order,
    /// each id once.
    pub fn variants(&self, word: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        if word.len() > LONGEST_TOKEN {
            return ids;
        }
        for spelling in spellings(word) {
            if let Ok([id]) = self.encode(&spelling, Bos::No, true).as_deref()
                && !ids.contains(id)
            {
                ids.push(*id);
            }
        }
        ids
    }

    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// Ids that end a generation, the tokenizer's own first.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// Number of ids, added tokens included. The model's own vocabulary may be padded to more.
    pub fn vocab_size(&self) -> usize {
        self.pipeline.get_vocab_size(true)
    }

    /// Text of one id, decoded alone; `None` if the id is outside the vocabulary.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.pipeline.id_to_token(id).map(|_| self.decode_one(id))
    }
}

/// One token's text, and its bytes where they are no whole characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub part: Option<Vec<u8>>,
}

impl From<String> for Piece {
    fn from(text: String) -> Piece {
        Piece { text, part: None }
    }
}

/// The byte that a letter stands for in a byte-level vocabulary (`bytes_to_unicode` of GPT-2): printable ones for themselves,
/// the others from U+0100 on.
fn byte_of(letter: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(letter) {
        code @ 0..0x100 => u8::try_from(code).ok().filter(|byte| printable(*byte)),
        code => (0..=0xff).filter(|byte| !printable(*byte)).nth(usize::try_from(code - 0x100).ok()?),
    }
}

fn encode(pipeline: &Pipeline, text: &str, add_specials: bool) -> Result<Encoding> {
    let encoding = guarded(|| pipeline.encode_fast(text, add_specials)).map_err(TokenizerError::Encode)?;
    encoding.map_err(|error| TokenizerError::Encode(error.to_string()))
}

/// word, Word, WORD, each without and with a leading space.
fn spellings(word: &str) -> Vec<String> {
    let lower = word.trim().to_lowercase();
    let mut letters = lower.chars();
    let capital = letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect());
    let upper = lower.to_uppercase();
    [lower, capital, upper].into_iter().flat_map(|form| [form.clone(), format!(" {form}")]).collect()
}

/// The file's value, `Null` if there is no such file.
pub(in crate::model) fn read_json(path: &Path) -> Result<Json> {
    let Some(bytes) = inside::read(path).map_err(|error| unreadable(path, &error))? else {
        return Ok(Json::Null);
    };
    let file_error = |reason: String| TokenizerError::File { path: path.into(), reason };
    let json = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    serde_json::from_slice(json).map_err(|error| file_error(error.to_string()))
}

/// The file's text, `None` if there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>> {
    let bytes = inside::read(path).map_err(|error| unreadable(path, &error))?;
    let file_error = |reason: String| TokenizerError::File { path: path.into(), reason };
    bytes.map(String::from_utf8).transpose().map_err(|error| file_error(error.to_string()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> TokenizerError {
    match inside::LeadsOut::help(error) {
        Some(help) => TokenizerError::LeadsOut { path: path.into(), reason: error.to_string(), help },
        None => TokenizerError::File { path: path.into(), reason: error.to_string() },
    }
}

/// Ids that the files give for `role` (`bos`, `eos`, `pad`), by token (`bos_token`) or by id (`bos_token_id`).
fn special_ids(pipeline: &Pipeline, sources: &[Json], role: &str) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for source in sources {
        let token = &source[format!("{role}_token")];
        let token = token.as_str().or_else(|| token["content"].as_str());
        let id = &source[format!("{role}_token_id")];
        let listed = id.as_array().map_or(std::slice::from_ref(id), Vec::as_slice);
        let listed = listed.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok());
        for id in token.and_then(|token| pipeline.token_to_id(token)).into_iter().chain(listed) {
            if seen.insert(id) {
                ids.push(id);
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::Help;

    fn tiny() -> Tokenizer {
        Tokenizer::from_folder(Path::new("tests/fixtures/tiny")).unwrap()
    }

    #[test]
    fn round_trips_any_text() {
        let tokenizer = tiny();
        for text in [" John gave Mary 50%", "東京 🙂\r\n\t", "", "<bos>x"] {
            let ids = tokenizer.encode(text, Bos::Auto, true).unwrap();
            assert_eq!(tokenizer.decode(&ids), text);
        }
        assert_eq!(tokenizer.vocab_size(), 320);
        assert_eq!(
            (tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.pad_id()),
            (Some(1), [2].as_slice(), Some(0))
        );
    }

    /// The fixture with `change` made to its `tokenizer.json`.
    fn changed(change: impl FnOnce(&mut Json)) -> Result<Tokenizer> {
        let folder = tempfile::tempdir().unwrap();
        let mut json = read_json(Path::new("tests/fixtures/tiny/tokenizer.json")).unwrap();
        change(&mut json);
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        Tokenizer::from_folder(folder.path())
    }

    #[test]
    fn a_file_that_contradicts_itself_is_an_error() {
        let long = "x".repeat(99);
        let error = changed(|json| json["model"]["merges"] = serde_json::json!([["a", long]])).err().unwrap();
        assert!(error.to_string().starts_with("cannot read `"), "{error}");
        let error = changed(|json| {
            json["model"]["vocab"][&long] = 320.into();
            json["model"]["merges"] = serde_json::json!([[long, long]]);
        });
        assert!(error.err().unwrap().to_string().contains("`: it contradicts itself ("));
    }

    #[test]
    fn padding_and_truncation_are_not_for_prompts() {
        let cut = changed(|json| {
            json["truncation"] = serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
            json["padding"] = serde_json::json!({"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"});
        });
        let text = "John gave Mary 50%";
        let ids = cut.unwrap().encode(text, Bos::No, true).unwrap();
        assert_eq!(ids, tiny().encode(text, Bos::No, true).unwrap());
    }

    #[test]
    fn bos_is_added_once_and_only_when_asked() {
        let tokenizer = tiny();
        let plain = tokenizer.encode(" John", Bos::No, true).unwrap();
        assert_eq!(tokenizer.encode(" John", Bos::Auto, true).unwrap(), plain);
        assert_eq!(tokenizer.encode(" John", Bos::Yes, true).unwrap(), [&[1], plain.as_slice()].concat());
    }

    /// A chat template writes its own, which the tokenizer would double.
    #[test]
    fn a_text_that_brings_its_bos_gets_no_other() {
        let plain = tiny().encode(" John", Bos::No, true).unwrap();
        let pipeline = tiny().pipeline;
        let adding = Tokenizer::new(pipeline, Some(1), vec![2], None, Some(true)).unwrap();
        let with = |n: usize| [vec![1; n], plain.clone()].concat();
        for (text, bos, n) in [
            (" John", Bos::Auto, 1),
            ("<bos> John", Bos::Auto, 1),
            ("<bos><bos> John", Bos::Auto, 2),
            ("<bos> John", Bos::Yes, 2),
            ("<bos> John", Bos::No, 1),
        ] {
            assert_eq!(adding.encode(text, bos, true).unwrap(), with(n), "{text} {bos:?}");
        }
        // Spelled out as plain text it is none.
        assert_eq!(adding.encode("<bos> John", Bos::Auto, false).unwrap()[0], 1);
    }

    #[test]
    fn special_tokens_can_be_plain_text() {
        let tokenizer = tiny();
        assert_eq!(tokenizer.encode("<eos>", Bos::No, true).unwrap(), [2]);
        let plain = tokenizer.encode("<eos>", Bos::No, false).unwrap();
        assert_eq!((plain.len(), tokenizer.decode(&plain)), (5, "<eos>".into()));
        assert_eq!(tokenizer.decode(&[2, plain[0]]), "<eos><");
        assert_eq!(tokenizer.decode_skip_special(&[2, plain[0]]), "<");
    }

    #[test]
    fn letters_stand_for_bytes() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut bytes: Vec<u8> = alphabet.into_iter().map(|letter| byte_of(letter).unwrap()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        // As GPT-2 spells a space, a line feed and 0xad.
        assert_eq!(['Ġ', 'Ċ', 'Ń'].map(byte_of), [Some(b' '), Some(b'\n'), Some(0xad)]);
        assert_eq!(byte_of('日'), None);
    }

    #[test]
    fn pieces_keep_the_bytes_of_parts_of_a_character() {
        let tokenizer = tiny();
        let text = "<eos>東京 🙂é John";
        let pieces = tokenizer.pieces(&tokenizer.encode(text, Bos::No, true).unwrap());
        let bytes = pieces.iter().flat_map(|piece| piece.part.clone().unwrap_or(piece.text.clone().into()));
        assert_eq!(String::from_utf8(bytes.collect()).unwrap(), text);
        assert!(pieces.iter().all(|piece| piece.part.is_none() || piece.text.contains('\u{fffd}')));
    }

    #[test]
    fn parts_of_a_character_decode_to_the_replacement() {
        let tokenizer = tiny();
        let ids = tokenizer.encode("é", Bos::No, true).unwrap();
        assert_eq!(tokenizer.decode_each(&ids), ["\u{fffd}", "\u{fffd}"]);
        assert_eq!(tokenizer.token_text(320), None);
    }

    #[test]
    fn a_string_of_several_tokens_is_refused_with_its_pieces() {
        let tokenizer = tiny();
        assert_eq!(tokenizer.decode(&[tokenizer.single(" John").unwrap()]), " John");
        let error = tokenizer.single(" Johnny").unwrap_err();
        assert_eq!(error.to_string(), "` Johnny` is 3 tokens: ` John` `n` `y`");
        assert_eq!(
            error.help().unwrap(),
            "no spelling of it is one token: choose words that are, compare texts token by token with `loss(\" Johnny\")`, \
             or ask for its first piece alone, ` John`, which other words share"
        );
        let error = tokenizer.single("John").unwrap_err();
        assert_eq!(error.help().unwrap(), "one token each: ` John`");
        assert!(matches!(tokenizer.single(""), Err(TokenizerError::NoToken)));
    }

    #[test]
    fn variants_are_the_spellings_that_are_one_token() {
        let tokenizer = tiny();
        let texts = tokenizer.decode_each(&tokenizer.variants("true"));
        assert_eq!(texts, ["TRUE", " TRUE"]);
        // Upper and lower case of `%` are the same token.
        assert_eq!(tokenizer.decode_each(&tokenizer.variants("%")), ["%"]);
    }
}
