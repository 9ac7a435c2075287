//! The tokenizer that a GGUF file's `tokenizer.ggml.*` keys describe.
//!
//! Sources: llama.cpp (`llama-vocab.cpp`) for what each `tokenizer.ggml.pre` means, the models' own `tokenizer.json`
//! for the same in terms of this library.

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer as Pipeline};

use super::{Gguf, Result, Tokenizer, TokenizerError};
use crate::model::gguf::optional;

// `tokenizer.ggml.token_type`.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub fn build(gguf: &Gguf) -> Result<Tokenizer> {
    let model = gguf.str("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(unknown(gguf, "tokenizer model", model, "`gpt2` (byte-level BPE)"));
    }
    let tokens = gguf.array_str("tokenizer.ggml.tokens")?;
    let kinds = gguf.array_i64("tokenizer.ggml.token_type")?;
    let pre = optional(gguf.str("tokenizer.ggml.pre"))?.unwrap_or("gpt-2".into());

    let llama3 = matches!(pre.as_str(), "llama-bpe" | "llama3");

    let mut pipeline = Pipeline::new(byte_level_bpe(gguf, &tokens, llama3)?);
    pipeline.with_pre_tokenizer(Some(pre_tokenizer(gguf, &pre)?));
    if pre == "qwen2" {
        pipeline.with_normalizer(Some(NFC)).map_err(|error| invalid(gguf, error.to_string()))?;
    }
    pipeline.with_decoder(Some(ByteLevelDecoder::default()));

    let added = |special, kinds: &[i64], wanted: &[i64]| -> Vec<AddedToken> {
        let chosen =
            tokens.iter().zip(kinds).filter(|(token, kind)| wanted.contains(kind) && !token.is_empty());
        chosen.map(|(token, _)| AddedToken::from(token.as_str(), special).normalized(false)).collect()
    };
    pipeline
        .add_special_tokens(added(true, &kinds, &[UNKNOWN, CONTROL]))
        .and_then(|_| pipeline.add_tokens(added(false, &kinds, &[USER_DEFINED])))
        .map_err(|error| invalid(gguf, error.to_string()))?;

    let id = |name: &str| optional(gguf.u32(&format!("tokenizer.ggml.{name}_token_id")));
    let bos = id("bos")?;
    // `eot` ends a turn where that is another token than the end of text.
    let mut eos: Vec<u32> = [id("eos")?, id("eot")?].into_iter().flatten().collect();
    eos.dedup();
    let pad = id("padding")?;
    for id in bos.iter().chain(&eos).chain(&pad) {
        if *id as usize >= tokens.len() {
            return Err(invalid(gguf, format!("special token {id} is outside the {} tokens", tokens.len())));
        }
    }
    // Where the file is silent, llama.cpp adds BOS for Llama 3 alone.
    let add_bos = optional(gguf.bool("tokenizer.ggml.add_bos_token"))?.unwrap_or(llama3);
    Tokenizer::new(pipeline, bos, eos, pad, Some(add_bos))
}

/// `ignore_merges`: a word that is in the vocabulary is one token, whatever the merges say.
fn byte_level_bpe(gguf: &Gguf, tokens: &[String], ignore_merges: bool) -> Result<BPE> {
    let vocab: tokenizers::models::bpe::Vocab =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
    let mut merges = Vec::new();
    for merge in gguf.array_str("tokenizer.ggml.merges")? {
        // The library panics on a merge whose result is longer than every token.
        match merge.split_once(' ') {
            Some((left, right)) if vocab.contains_key(&format!("{left}{right}")) => {
                merges.push((left.to_string(), right.to_string()));
            }
            _ => return Err(invalid(gguf, format!("merge `{merge}` makes no token"))),
        }
    }
    BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(ignore_merges)
        .build()
        .map_err(|error| invalid(gguf, error.to_string()))
}

/// How a text is cut into words before the merges, by llama.cpp's name for it.
fn pre_tokenizer(gguf: &Gguf, pre: &str) -> Result<PreTokenizerWrapper> {
    let bytes = |use_regex| ByteLevel::new(false, true, use_regex);
    let split = |pattern: &str| -> Result<PreTokenizerWrapper> {
        let pattern = SplitPattern::Regex(pattern.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| invalid(gguf, error.to_string()))?;
        Ok(Sequence::new(vec![split.into(), bytes(false).into()]).into())
    };
    match pre {
        "gpt-2" | "gpt2" | "olmo" | "phi-2" => Ok(bytes(true).into()),
        "smollm" | "starcoder" | "refact" => {
            Ok(Sequence::new(vec![Digits::new(true).into(), bytes(true).into()]).into())
        }
        "llama-bpe" | "llama3" | "smaug-bpe" | "dbrx" => split(LLAMA3),
        "qwen2" => split(QWEN2),
        _ => {
            let known = "`gpt-2`, `olmo`, `phi-2`, `smollm`, `starcoder`, `llama-bpe`, `dbrx`, `qwen2`";
            Err(unknown(gguf, "pre-tokenizer", pre.into(), known))
        }
    }
}

fn invalid(gguf: &Gguf, reason: String) -> TokenizerError {
    TokenizerError::Metadata { path: gguf.path().into(), reason }
}

fn unknown(gguf: &Gguf, what: &'static str, name: String, known: &str) -> TokenizerError {
    TokenizerError::UnknownKind { path: gguf.path().into(), what, name, known: known.into() }
}
