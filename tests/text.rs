//! Tokenizers and chat templates against the reference values of `tests/golden`.

mod common;

use std::path::Path;

use candle_core::Device;
use common::{golden, ids, smollm2_path};
use patchscript::model::chat::{ChatOptions, ChatTemplate, Message};
use patchscript::model::gguf::Gguf;
use patchscript::model::tokenizer::{Bos, Tokenizer};
use serde_json::Value as Json;

fn smollm2() -> Option<Gguf> {
    Some(Gguf::open(&smollm2_path()?).unwrap())
}

fn strings(json: &Json) -> Vec<String> {
    serde_json::from_value(json.clone()).unwrap()
}

#[test]
fn smollm2_ids_equal_the_reference() {
    let Some(gguf) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let golden = golden("smollm2_basic.json");
    assert_eq!(tokenizer.vocab_size(), 49152);
    assert_eq!(
        (tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.pad_id()),
        (Some(1), [2].as_slice(), Some(2))
    );

    for prompt in golden["prompts"].as_array().unwrap() {
        let text = prompt["text"].as_str().unwrap();
        let found = tokenizer.encode(text, Bos::Auto, true).unwrap();
        assert_eq!(found, ids(&prompt["ids"]), "{text:?}");
        assert_eq!(tokenizer.decode_each(&found), strings(&prompt["tokens"]), "{text:?}");
        assert_eq!(tokenizer.decode_each(&ids(&prompt["top10_ids"])), strings(&prompt["top10_tokens"]));
        assert_eq!(tokenizer.decode(&ids(&prompt["greedy_ids"])), prompt["greedy_text"].as_str().unwrap());
    }
    let probes = golden["tokenizer_probes"].as_array().unwrap();
    assert_eq!(probes.len(), 20);
    for probe in probes {
        let text = probe["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, Bos::Auto, true).unwrap(), ids(&probe["ids"]), "{text:?}");
        let plain = tokenizer.encode(text, Bos::No, true).unwrap();
        assert_eq!(plain, ids(&probe["ids_no_special"]), "{text:?}");
        assert_eq!(tokenizer.decode(&plain), probe["decode"].as_str().unwrap(), "{text:?}");
    }
}

#[test]
fn smollm2_words_of_one_token() {
    let Some(gguf) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let ioi = golden("smollm2_ioi.json");
    assert_eq!(Some(u64::from(tokenizer.single(" John").unwrap())), ioi["correct_id"].as_u64());
    assert_eq!(Some(u64::from(tokenizer.single(" Mary").unwrap())), ioi["incorrect_id"].as_u64());
    // Four of the six spellings are one token.
    let heatmap = golden("smollm2_heatmap.json");
    for (word, expected) in [("TRUE", "yes_ids"), ("FALSE", "no_ids")] {
        let mut found = tokenizer.variants(word);
        found.sort();
        assert_eq!(found, ids(&heatmap[expected]), "{word}");
    }
    let prompt = heatmap["source_prompt"].as_str().unwrap();
    assert_eq!(tokenizer.encode(prompt, Bos::Auto, true).unwrap(), ids(&heatmap["source_ids"]));
    let error = tokenizer.single(" TRUE").unwrap_err();
    assert_eq!(error.to_string(), "` TRUE` is 2 tokens: ` TR` `UE`");
    assert_eq!(error.help().unwrap(), "one token each: `true` ` true` `True` ` True`");
}

#[test]
fn smollm2_special_tokens_can_be_plain_text() {
    let Some(gguf) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let plain = tokenizer.encode("<|im_start|>", Bos::No, false).unwrap();
    assert!(plain.len() > 1 && !plain.contains(&1), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain), "<|im_start|>");
}

#[test]
fn smollm2_chats_equal_the_reference() {
    let Some(gguf) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let template = ChatTemplate::from_gguf(&gguf, &tokenizer).unwrap().unwrap();
    let chat = &golden("smollm2_basic.json")["chat"];
    let messages: Vec<Message> = chat["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| Message {
            role: m["role"].as_str().unwrap().into(),
            content: m["content"].as_str().unwrap().into(),
        })
        .collect();
    let plain = ChatOptions::default();
    let open = ChatOptions { continue_final: true, ..Default::default() };
    let prompt = ChatOptions { add_generation_prompt: true, ..Default::default() };
    for (messages, options, text, expected) in [
        (&messages[..], &open, "continue_final_message", "continue_ids"),
        (&messages[..], &plain, "plain", "plain_ids"),
        (&messages[..2], &prompt, "generation_prompt", "generation_prompt_ids"),
        (&messages[1..2], &prompt, "no_system_generation_prompt", "no_system_ids"),
    ] {
        let found = template.render(messages, options).unwrap();
        assert_eq!(found, chat[text].as_str().unwrap());
        assert_eq!(tokenizer.encode(&found, Bos::Auto, true).unwrap(), ids(&chat[expected]), "{text}");
    }
}

#[test]
fn smollm2_tensors_are_read() {
    let Some(gguf) = smollm2() else { return };
    assert_eq!((gguf.arch(), gguf.quantization()), ("llama", "Q4_1".into()));
    assert_eq!(gguf.tensor_names().count(), 272);
    assert_eq!(gguf.u32("llama.block_count").unwrap(), 30);
    let embedding = gguf.tensor("token_embd.weight", &Device::Cpu).unwrap();
    assert_eq!(embedding.dims(), [49152, 576]);
    // The embedding of a prompt's last token.
    let golden = &golden("smollm2_basic.json")["prompts"][0];
    let last = *ids(&golden["ids"]).last().unwrap();
    let row = embedding.get(last as usize).unwrap().to_vec1::<f32>().unwrap();
    let expected: Vec<f32> = serde_json::from_value(golden["points"]["embed"]["dims16"].clone()).unwrap();
    assert_eq!(row[..16], expected);
}

#[test]
fn tiny_folder_chats() {
    let folder = Path::new("tests/fixtures/tiny");
    let tokenizer = Tokenizer::from_folder(folder).unwrap();
    let template = ChatTemplate::from_folder(folder, &tokenizer).unwrap().unwrap();
    let messages = [Message { role: "user".into(), content: " John gave ".into() }];
    let options = ChatOptions { add_generation_prompt: true, ..Default::default() };
    assert_eq!(template.render(&messages, &options).unwrap(), "<user> John gave\n<assistant> ");
}
