//! The tokenizer that a GGUF file's `tokenizer.ggml.*` keys describe.
//!
//! Sources: llama.cpp (`llama-vocab.cpp`) for what each `tokenizer.ggml.pre` means, the models' own `tokenizer.json`
//! for the same in terms of this library. [`sentencepiece`] is the kind that Llama 2 and Gemma have.
//!
//! candle's `TokenizerFromGguf` does not do: it has no SentencePiece, and takes `llama-bpe`, as llama.cpp names Llama 3's, and
//! any other name that it does not know for GPT-2's, which cuts numbers and words elsewhere.

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer as Pipeline};

use super::{Gguf, Result, Tokenizer, TokenizerError};
use crate::model::gguf::optional;

mod sentencepiece;

// `tokenizer.ggml.token_type`.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub fn build(gguf: &Gguf) -> Result<Tokenizer> {
    let mut tokens = gguf.array_str("tokenizer.ggml.tokens")?;
    let kinds = gguf.array_i64("tokenizer.ggml.token_type")?;
    let pre = optional(gguf.str("tokenizer.ggml.pre"))?.unwrap_or("gpt-2".into());
    let llama3 = matches!(pre.as_str(), "llama-bpe" | "llama3");
    // Where the file is silent, llama.cpp adds BOS for SentencePiece and for Llama 3.
    let (mut pipeline, adds_bos) = match gguf.str("tokenizer.ggml.model")?.as_str() {
        "gpt2" => (byte_level(gguf, &tokens, &pre, llama3)?, llama3),
        "llama" => (sentencepiece::pipeline(gguf, &mut tokens, &kinds)?, true),
        model => {
            let known = "`gpt2` (byte-level BPE) and `llama` (SentencePiece)";
            return Err(unknown(gguf, "tokenizer model", model.into(), known));
        }
    };

    let added = |special, wanted: &[i64]| -> Vec<AddedToken> {
        let chosen =
            tokens.iter().zip(&kinds).filter(|(token, kind)| wanted.contains(kind) && !token.is_empty());
        // As Phi-3's own `tokenizer.json` has it; its GGUF files do not say so.
        let eats_space = |token: &str| {
            gguf.arch() == "phi3" && special && !["<unk>", "<s>", "<|endoftext|>"].contains(&token)
        };
        let added =
            |token: &str| AddedToken::from(token, special).normalized(false).rstrip(eats_space(token));
        chosen.map(|(token, _)| added(token)).collect()
    };
    pipeline
        .add_special_tokens(added(true, &[UNKNOWN, CONTROL]))
        .and_then(|_| pipeline.add_tokens(added(false, &[USER_DEFINED])))
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
    let add_bos = optional(gguf.bool("tokenizer.ggml.add_bos_token"))?.unwrap_or(adds_bos);
    Tokenizer::new(pipeline, bos, eos, pad, Some(add_bos))
}

fn byte_level(gguf: &Gguf, tokens: &[String], pre: &str, llama3: bool) -> Result<Pipeline> {
    let error = |error: tokenizers::Error| invalid(gguf, error.to_string());
    let vocab: Vocab = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
    let merges = merges(gguf, &vocab, gguf.array_str("tokenizer.ggml.merges")?)?;
    // In Llama 3, a word that is in the vocabulary is one token, whatever the merges say.
    let model = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(llama3).build();
    let mut pipeline = Pipeline::new(model.map_err(error)?);
    pipeline.with_pre_tokenizer(Some(pre_tokenizer(gguf, pre)?));
    if pre == "qwen2" {
        pipeline.with_normalizer(Some(NFC)).map_err(error)?;
    }
    pipeline.with_decoder(Some(ByteLevelDecoder::default()));
    Ok(pipeline)
}

/// `left right` each.
fn merges(gguf: &Gguf, vocab: &Vocab, merges: Vec<String>) -> Result<Vec<(String, String)>> {
    let pair = |merge: String| match merge.split_once(' ') {
        // The library panics on a merge whose result is longer than every token.
        Some((left, right)) if vocab.contains_key(&format!("{left}{right}")) => {
            Ok((left.to_string(), right.to_string()))
        }
        _ => Err(invalid(gguf, format!("merge `{merge}` makes no token"))),
    };
    merges.into_iter().map(pair).collect()
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
