//! SentencePiece's byte-pair encoding: `tokenizer.ggml.model` is `llama`.
//!
//! SentencePiece joins the adjacent pair whose union scores best; a GGUF file gives the scores and no merges. The merges
//! are recovered as transformers does it (`generate_merges`), so that ids agree with its tokenizers.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::{DecoderWrapper, Tokenizer as Pipeline};

use super::{BYTE, CONTROL, Gguf, Result, UNKNOWN, UNUSED, invalid};
use crate::model::gguf::optional;

/// What a space is in the vocabulary.
const SPACE: &str = "▁";
/// Real vocabularies stay below three; the cap bounds what a corrupt one can make us store.
const MAX_MERGES_PER_TOKEN: usize = 16;

/// `tokens` and their types, by id; a token that is respelled for the pipeline is changed in place.
pub fn pipeline(gguf: &Gguf, tokens: &mut [String], kinds: &[i64]) -> Result<Pipeline> {
    let error = |error: tokenizers::Error| invalid(gguf, error.to_string());
    let gemma = gguf.arch().starts_with("gemma");
    if gemma {
        // Gemma's runs of spaces are written with spaces; its pipeline looks them up as it looks up every space.
        for token in tokens.iter_mut().filter(|token| !token.is_empty() && token.chars().all(|c| c == ' ')) {
            *token = SPACE.repeat(token.len());
        }
    }
    let vocab: Vocab = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
    let merges = match optional(gguf.array_str("tokenizer.ggml.merges"))? {
        Some(merges) => super::merges(gguf, &vocab, merges)?,
        None => recovered_merges(gguf, tokens, kinds, &vocab, gemma)?,
    };
    let mut model = BPE::builder().vocab_and_merges(vocab, merges).fuse_unk(true).byte_fallback(true);
    if let Some(id) = optional(gguf.u32("tokenizer.ggml.unknown_token_id"))?
        && let Some(unknown) = tokens.get(id as usize)
    {
        model = model.unk_token(unknown.clone());
    }
    let mut pipeline = Pipeline::new(model.build().map_err(error)?);

    let prefix = optional(gguf.bool("tokenizer.ggml.add_space_prefix"))?.unwrap_or(!gemma);
    let replace = || Replace::new(" ", SPACE).map_err(error);
    if prefix {
        // Before every text, one that begins with a space too; and as llama.cpp has it, after every special token.
        let prepend = Prepend::new(SPACE.into());
        let normalizers = Normalizers::new(vec![prepend.into(), replace()?.into()]);
        pipeline.with_normalizer(Some(normalizers)).map_err(error)?;
    } else {
        pipeline.with_normalizer(Some(replace()?)).map_err(error)?;
    }
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE, " ").map_err(error)?.into(),
        ByteFallback::default().into(),
        Fuse::default().into(),
    ];
    if prefix {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    pipeline.with_decoder(Some(Decoders::new(decoders)));
    Ok(pipeline)
}

/// Every way to cut a token into two tokens: the best token first, of its ways the longest left part first.
fn recovered_merges(
    gguf: &Gguf,
    tokens: &[String],
    kinds: &[i64],
    vocab: &Vocab,
    gemma: bool,
) -> Result<Vec<(String, String)>> {
    // The scores of Gemma's files do not follow the order of its merges, but the order of the tokens does.
    let scores = match gemma {
        true => (0..tokens.len()).map(|id| -(id as f32)).collect(),
        false => gguf.array_f32("tokenizer.ggml.scores")?,
    };
    let mut merges = Vec::new();
    for ((token, kind), score) in tokens.iter().zip(kinds).zip(scores) {
        // Text never joins into one of these.
        if [UNKNOWN, CONTROL, UNUSED, BYTE].contains(kind) {
            continue;
        }
        let len = token.chars().count();
        for (chars, (at, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(at);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                merges.push((score, (chars, len - chars), (left.to_string(), right.to_string())));
            }
        }
        if merges.len() > MAX_MERGES_PER_TOKEN * tokens.len() {
            return Err(invalid(
                gguf,
                "its tokens can be cut in more ways than those of any real model".into(),
            ));
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
    Ok(merges.into_iter().map(|(.., merge)| merge).collect())
}
