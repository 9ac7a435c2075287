//! Tokenizers and chat templates against the reference values of `tests/golden`.

mod common;

use patchscript::help::Help;
use std::path::Path;

use candle_core::Device;
use common::{chat_templates, gemma3_path, golden, ids, smollm2_path};
use patchscript::model::chat::{ChatError, ChatOptions, ChatTemplate, Message};
use patchscript::model::gguf::Gguf;
use patchscript::model::tokenizer::{Bos, Tokenizer};
use serde_json::{Value as Json, json};

fn smollm2() -> Option<Gguf> {
    Some(Gguf::open(&smollm2_path()?).unwrap())
}

fn gemma3() -> Option<Gguf> {
    Some(Gguf::open(&gemma3_path()?).unwrap())
}

fn strings(json: &Json) -> Vec<String> {
    serde_json::from_value(json.clone()).unwrap()
}

fn messages(json: &Json) -> Vec<Message> {
    let text = |value: &Json| value.as_str().unwrap().to_string();
    let message = |m: &Json| Message { role: text(&m["role"]), content: text(&m["content"]) };
    json.as_array().unwrap().iter().map(message).collect()
}

#[test]
fn smollm2_ids_equal_the_reference() {
    let Some(gguf) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap().unwrap();
    let golden = golden("smollm2_basic.json");
    assert_eq!(tokenizer.vocab_size(), 49152);
    assert_eq!(
        (tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.pad_id()),
        (Some(1), [2].as_slice(), Some(2))
    );

    agrees(&tokenizer, &golden);
}

#[test]
fn gemma3_ids_equal_the_reference() {
    let Some(gguf) = gemma3() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap().unwrap();
    assert_eq!(tokenizer.vocab_size(), 262144);
    assert_eq!(
        (tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.pad_id()),
        (Some(2), [1].as_slice(), Some(0))
    );
    agrees(&tokenizer, &golden("gemma3_basic.json"));
    // A special token as plain text is never that token.
    let plain = tokenizer.encode("<bos>", Bos::No, false).unwrap();
    assert!(!plain.contains(&2) && tokenizer.decode(&plain) == "<bos>", "{plain:?}");
}

/// The chat template writes BOS, so that the tokenizer writes none, unless it is told to: transformers' begins with two.
#[test]
fn a_rendered_chat_has_its_own_bos() {
    let (Some(gguf), Some(folder)) = (gemma3(), chat_templates()) else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap().unwrap();
    let source = std::fs::read_to_string(folder.join("gemma-2.jinja")).unwrap();
    let template = ChatTemplate::from_source(&source, [("bos_token", "<bos>".to_string())].into()).unwrap();
    let text =
        template.render(&[Message { role: "user".into(), content: "hi".into() }], &ChatOptions::default());
    let text = text.unwrap();
    let [doubled, own, clean] =
        [Bos::Yes, Bos::Auto, Bos::No].map(|bos| tokenizer.encode(&text, bos, true).unwrap());
    assert_eq!(doubled[..3], [2, 2, 105]);
    assert_eq!(own, doubled[1..]);
    assert_eq!(clean, own);
}

/// Ids, texts and probes of a golden file.
fn agrees(tokenizer: &Tokenizer, golden: &Json) {
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
        // The reference writes a BOS before a text that begins with one, too; here that is asked for.
        let bos =
            if text.starts_with("<bos>") && tokenizer.bos_id() == Some(2) { Bos::Yes } else { Bos::Auto };
        assert_eq!(tokenizer.encode(text, bos, true).unwrap(), ids(&probe["ids"]), "{text:?}");
        let plain = tokenizer.encode(text, Bos::No, true).unwrap();
        assert_eq!(plain, ids(&probe["ids_no_special"]), "{text:?}");
        assert_eq!(tokenizer.decode(&plain), probe["decode"].as_str().unwrap(), "{text:?}");
    }
}

#[test]
fn smollm2_words_of_one_token() {
    let Some(gguf) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap().unwrap();
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
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap().unwrap();
    let plain = tokenizer.encode("<|im_start|>", Bos::No, false).unwrap();
    assert!(plain.len() > 1 && !plain.contains(&1), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain), "<|im_start|>");
}

#[test]
fn smollm2_chats_equal_the_reference() {
    let Some(gguf) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap().unwrap();
    let template = ChatTemplate::from_gguf(&gguf).unwrap().unwrap();
    let chat = &golden("smollm2_basic.json")["chat"];
    let messages = messages(&chat["messages"]);
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
    let template = ChatTemplate::from_folder(folder).unwrap().unwrap();
    let messages = [Message { role: "user".into(), content: " John gave ".into() }];
    let options = ChatOptions { add_generation_prompt: true, ..Default::default() };
    assert_eq!(template.render(&messages, &options).unwrap(), "<user> John gave\n<assistant> ");
}

#[test]
fn published_chat_templates_equal_transformers() {
    let Some(folder) = chat_templates() else { return };
    let golden = golden("chats.json");
    let cases = golden["cases"].as_array().unwrap();
    for (name, expected) in golden["templates"].as_object().unwrap() {
        let own = format!("tests/fixtures/chat/{name}.jinja");
        let path = if Path::new(&own).exists() { own.into() } else { folder.join(format!("{name}.jinja")) };
        let source = std::fs::read_to_string(path).unwrap();
        let special = expected["special_tokens"].as_object().unwrap();
        let special = ["bos_token", "eos_token", "unk_token", "pad_token"]
            .into_iter()
            .filter_map(|role| Some((role, special.get(role)?.as_str()?.to_string())));
        let template = ChatTemplate::from_source(&source, special.collect()).unwrap();
        for (case, expected) in cases.iter().zip(expected["rendered"].as_array().unwrap()) {
            let options = &case["options"];
            let options = ChatOptions {
                continue_final: options["continue_final"] == true,
                add_generation_prompt: options["add_generation_prompt"] == true,
                date: options["date"].as_str().map(String::from),
                variables: options["variables"].as_object().cloned().unwrap_or_default(),
            };
            let found = match template.render(&messages(&case["messages"]), &options) {
                Ok(text) => json!({ "text": text }),
                Err(ChatError::Refused(reason)) => json!({ "refused": reason }),
                Err(ChatError::FinalLost) => json!({ "lost": true }),
                Err(error) => panic!("{name}: {error}"),
            };
            assert_eq!(&found, expected, "{name}: {case}");
        }
    }
}
