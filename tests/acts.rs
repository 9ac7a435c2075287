//! Collected activations against the plain path: each text traced alone.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use common::*;
use patchscript::data::Acts;
use patchscript::data::acts::Index;
use patchscript::data::rows::Rows;
use patchscript::model::tokenizer::Bos;
use patchscript::model::{Model, Point};
use patchscript::run::Site;

/// The activations in a folder, without a model.
fn load_acts(folder: &Path) -> Acts {
    let index = Index::read("i", &fs::read(folder.join("acts.json")).unwrap()).unwrap();
    let open = |file: &str| fs::File::open(folder.join(file));
    index.acts("f", open).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether these are the rows of traces of texts that are run alone, the first `skip` tokens of each left out.
#[track_caller]
fn are_traced(acts: &Acts, model: &Arc<Model>, site: &Site, prompts: &[Vec<u32>], skip: usize, center: bool) {
    let mut rows = 0..acts.len();
    for (prompt, ids) in prompts.iter().enumerate() {
        let trace = run(model, &id_tokens(model, ids), vec![], std::slice::from_ref(site));
        let values = flat(&read(&trace, site));
        let width = values.len() / ids.len();
        assert_eq!(acts.width(), width);
        for (position, expected) in values.chunks(width).enumerate().skip(skip) {
            let Some(row) = rows.next() else { return };
            let place = acts.place(row);
            assert_eq!((place.prompt, place.position, place.ids), (prompt, position, &ids[..]));
            assert_eq!(place.token(), ids[position]);
            let mean = if center { expected.iter().sum::<f32>() / width as f32 } else { 0.0 };
            let expected: Vec<f32> = expected.iter().map(|x| x - mean).collect();
            let largest = expected.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
            let diff = max_diff_of(acts.row(row), &expected);
            assert!(diff <= 1e-5 * largest, "row {row}: {diff} of {largest}");
        }
    }
    assert_eq!(rows.len(), 0, "there are more rows than tokens");
}

fn told(output: &Output) -> String {
    assert!(!output.status.success(), "it went well");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn rows_are_those_of_traces() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let model = load("demo");
    let texts = corpus(150);
    let text = "let corpus = \"demo/corpus.jsonl\"; let m = load();
        collect(m, corpus, resid_post(3), #{to: 150, folder: \"plain\"});
        collect(m, corpus, resid_post(3), #{to: 150, folder: \"short\", max_len: 5, center: true});
        collect(m, corpus, mlp_post(6), #{to: 150, limit: 401, skip_bos: false}).save(\"limit\");
        collect(m, corpus, \"blocks.2.attn.hook_z\", #{to: 150, bos: false, limit: 77})[10..77].save(\"z\");";
    // Little memory, so that there are many parts and passes.
    succeeds(&script(text, &out, &["--memory", "1MiB"]));
    let prompts = encoded(&model, &texts, 1024);
    let at = |point, layer| Site::new(point, layer);
    let plain = load_acts(&out.join("plain"));
    assert!(out.join("plain/00005.safetensors").exists(), "there are several parts");
    are_traced(&plain, &model, &at(Point::ResidPost, 3), &prompts, 1, false);
    let short = load_acts(&out.join("short"));
    are_traced(&short, &model, &at(Point::ResidPost, 3), &encoded(&model, &texts, 5), 1, true);
    let limit = load_acts(&out.join("limit"));
    assert_eq!(limit.len(), 401);
    are_traced(&limit, &model, &at(Point::MlpPost, 6), &prompts, 0, false);
    // Without BOS, and ten rows later.
    let bare = |text: &String| model.tokenizer().unwrap().encode(text, Bos::No, true).unwrap();
    let bare: Vec<_> = texts.iter().map(bare).collect();
    let z = load_acts(&out.join("z"));
    assert_eq!(z.len(), 67);
    let ids: Vec<u32> = bare.concat();
    assert!(z.places().map(|place| place.token()).eq(ids[10..77].iter().copied()));
    let whole = model.tokenizer().unwrap();
    let place = plain.place(30);
    assert_eq!(plain.text(place.ids), whole.decode(place.ids));
}

#[test]
fn what_does_not_fit_into_memory_is_the_same_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let text = "let acts = collect(load(), \"demo/corpus.jsonl\", resid_post(1), #{limit: 3000});
        acts.save(\"saved\");
        write_json(\"about.json\", #{shape: acts.shape, site: acts.site.to_string()});";
    succeeds(&script(text, &out, &["--memory", "64MiB"]));
    let held = load_acts(&out.join("saved"));
    let about = fs::read(out.join("about.json")).unwrap();
    assert!(
        !fs::read_dir(&out).unwrap().any(|e| e.unwrap().file_name().to_str().unwrap().starts_with("acts-"))
    );
    let spilled = script(text, &out, &["--memory", "2MiB"]);
    succeeds(&spilled);
    let told = String::from_utf8_lossy(&spilled.stderr);
    assert!(told.contains("the activations do not fit into memory and lie in `acts-"), "{told}");
    assert_eq!(fs::read(out.join("about.json")).unwrap(), about);
    let mapped = load_acts(&out.join("saved"));
    assert_eq!((held.len(), mapped.len()), (3000, 3000));
    for i in 0..3000 {
        assert_eq!(held.place(i), mapped.place(i));
        // With less memory fewer prompts are run at once.
        assert!(max_diff_of(held.row(i), mapped.row(i)) < 1e-4, "row {i}");
    }
}

#[test]
fn labels_come_from_every_shape() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let files = [
        ("a.json", "{\"x\": [\"John gave\", \"Mary\"], \"y\": [\"Wei left\"]}"),
        ("a.csv", "label,prompt\nx, John gave \nx,Mary\ny,Wei left\n"),
        (
            "a.jsonl",
            "{\"sentence\": \"John gave\", \"concept\": \"x\"}\n{\"text\": \"Mary\", \"label\": \"x\"}\n{\"sentence\": \"Wei left\", \"label\": \"y\"}",
        ),
    ];
    files.iter().for_each(|(name, text)| fs::write(path(name), text).unwrap());
    let text = format!(
        "let m = load();
         let maps = [#{{prompt: \"John gave\", label: \"x\"}}, #{{prompt: \" Mary\", label: \"x\"}}, #{{prompt: \"Wei left\", label: \"y\"}}];
         let all = [maps, #{{x: [\"John gave\", \"Mary\"], y: [\"Wei left\"]}}, {:?}, {:?}, {:?}].map(|texts| collect(m, texts, ln1(2)));
         for acts in all {{
             assert(acts.labels == all[0].labels && acts.labels.contains(\"x\") && acts.labels[-1] == \"y\", \"labels\");
             assert(acts.tokens == all[0].tokens && acts.prompts == all[0].prompts, \"tokens\");
             assert(acts.row(0).text == \"<|bos|>John gave\", acts.row(0).text);
         }}
         assert(collect(m, [\" John\"], ln1(2)).labels == [()], \"none\");
         assert(collect(m, {:?}, ln1(2), #{{field: \"label\", label: \"prompt\"}}).labels[0] == \"John gave\", \"by name\");",
        path("a.json"), path("a.csv"), path("a.jsonl"), path("a.csv")
    );
    succeeds(&script(&text, &out, &["--allow-read", folder.path().to_str().unwrap()]));
}

#[test]
fn a_resumed_collection_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let texts = corpus(usize::MAX);
    let rows: Vec<String> = (0..9000).map(|i| format!("{} {i}", texts[i % texts.len()])).collect();
    fs::write(&path, rows.join("\n")).unwrap();
    let text = |center: bool| {
        format!(
            "let acts = collect(load(), {path:?}, resid_post(1), #{{folder: \"acts\", from: 3, center: {center}}});
             write_json(\"n.json\", acts.len);"
        )
    };
    let read = ["--allow-read", folder.path().to_str().unwrap(), "--memory", "24MiB"];
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    succeeds(&script(&text(false), &whole, &read));
    let mut child = command(&text(false), &cut, &read).spawn().expect("the binary starts");
    let first = cut.join("acts/00000.safetensors");
    while !first.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let unfinished = told(&script("load_acts(\"acts\")", &cut, &["--resume"]));
    assert!(unfinished.contains("the activations in `acts` are not finished"), "{unfinished}");
    let more = [&read[..], &["--resume"]].concat();
    let other = told(&script(&text(true), &cut, &more));
    assert!(
        other.contains("cannot resume: `acts` is of another model, other texts or other options"),
        "{other}"
    );
    succeeds(&script(&text(false), &cut, &more));
    let mut names: Vec<_> =
        fs::read_dir(whole.join("acts")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() > 3, "{names:?}");
    for name in &names {
        let bytes = |out: &Path| fs::read(out.join("acts").join(name)).unwrap();
        assert!(bytes(&whole) == bytes(&cut), "{name:?} differs");
    }
    assert_eq!(names.len(), fs::read_dir(cut.join("acts")).unwrap().count());
    // One that is finished is not made again.
    succeeds(&script(&text(false), &cut, &more));
    // A smaller one leaves nothing of a larger one behind.
    succeeds(&script(
        "collect(load(), [\" John gave Mary\"], resid_post(1), #{folder: \"acts\"})",
        &cut,
        &[],
    ));
    assert_eq!(fs::read_dir(cut.join("acts")).unwrap().count(), 2);
    assert_eq!(load_acts(&cut.join("acts")).len(), 3);
}

#[test]
fn damaged_and_foreign_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let made = "let m = load(); for l in 1..3 { collect(m, \"demo/corpus.jsonl\", resid_post(l), #{limit: 600, folder: `l${l}`}); }
        collect(m, \"demo/corpus.jsonl\", mlp_post(1), #{limit: 600, folder: \"mlp\"});";
    succeeds(&script(made, &out, &["--memory", "1MiB"]));
    let part = |name: &str| out.join(name).join("00000.safetensors");
    let whole = fs::read(part("l1")).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(part("l1"), bytes).unwrap();
        told(&script("load_acts(\"l1\")", &out, &["--resume"]))
    };
    let start = "`l1/00000.safetensors` holds no activations that can be read: ";
    for (bytes, reason) in [
        (whole[..whole.len() / 2].to_vec(), ""),
        (Vec::new(), ""),
        (fs::read(part("l2")).unwrap(), "it is of another collection: resid_post.2 of demo"),
        (fs::read(part("mlp")).unwrap(), "it is of another collection: mlp_post.1 of demo"),
        (fs::read(out.join("l1/00001.safetensors")).unwrap(), "it is part 1 of the collection, not 0"),
    ] {
        let told = refused(&bytes);
        assert!(told.contains(&format!("{start}{reason}")), "{told}");
        assert!(told.contains("write them again with `collect` or `.save`"), "{told}");
    }
    fs::remove_file(part("l1")).unwrap();
    let missing = told(&script("load_acts(\"l1\")", &out, &["--resume"]));
    assert!(missing.contains(start), "{missing}");
    fs::write(out.join("l1/acts.json"), "{}").unwrap();
    let index = told(&script("load_acts(\"l1\")", &out, &["--resume"]));
    assert!(index.contains("`l1/acts.json` holds no activations"), "{index}");
    let none = told(&script("load_acts(\"none\")", &out, &[]));
    assert!(none.contains("no file `none/acts.json`"), "{none}");
}

/// A model whose numbers are none.
#[test]
fn what_is_no_number_is_refused_with_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    for entry in fs::read_dir("tests/fixtures/tiny").unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let weights = model.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&weights, &candle_core::Device::Cpu).unwrap();
    let norm = tensors.get_mut("model.layers.1.input_layernorm.weight").unwrap();
    *norm = (&*norm * f64::NAN).unwrap();
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    let read = ["--allow-read", folder.path().to_str().unwrap()];
    let out = folder.path().join("out");
    let text = format!("collect(load({:?}), [\" John\", \" Mary\"], resid_post(1))", model.to_str().unwrap());
    let err = told(&script(&text, &out, &read));
    assert!(err.contains("`resid_post.1`: entry 0 is not a finite number at token"), "{err}");
    assert!(err.contains("of row 0"), "{err}");
}

#[test]
fn what_cannot_be_collected_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (code, reason) in [
        ("collect(m, [], resid_post(1))", "activations of no texts"),
        ("collect(m, [\"\"], resid_post(1))", "activations of no texts"),
        ("collect(m, [\" John\"], pattern(1))", "`site` must be a site with a row a position"),
        ("collect(m, [\" John\"], resid_post(1), #{limit: 0})", "option `limit`: no rows"),
        (
            "collect(m, [\" John\"], resid_post(1), #{max_len: 0})",
            "option `max_len`: 0 is not between 1 and 1024",
        ),
        ("collect(m, [\" John\"], resid_post(1), #{from: 1})", "are for texts of a file"),
        ("collect(m, [\" John\"], resid_post(1), #{folder: \"../x\"})", "`..` is not allowed"),
        ("collect(m, [1], resid_post(1))", "element 0: expected a string, found `int`"),
        ("collect(m, #{a: 1}, resid_post(1))", "label `a`: expected an array, found `int`"),
        ("collect(m, [#{prompt: \"a\"}], resid_post(1), #{label: \"kind\"})", "expected a map with `kind`"),
        (
            "collect(m, [\" John\"], resid_post(1))[0..2]",
            "range `0..2` does not fit: the activations have 1 row",
        ),
        ("collect(m, [\" John\"], resid_post(1)).row(1)", "row 1 does not exist: the activations have 1 row"),
        (
            "sae_train(collect(m, [\" John gave\"], resid_post(1), #{center: true}))",
            "the activations are centred",
        ),
        (
            "sae_train(collect(m, [\" John gave\"], resid_post(1)), #{site: resid_post(2)})",
            "the activations are of `resid_post.1`, not of `resid_post.2`",
        ),
        (
            "load_sae(\"demo\").explained(collect(m, [\" John gave\"], resid_post(1)))",
            "the activations are of `resid_post.1`, and the autoencoder reads `resid_post.4`",
        ),
    ] {
        let err = told(&script(&format!("let m = load(); {code}"), &out, &[]));
        assert!(err.contains(reason), "{code}: {err}");
    }
}

#[test]
fn an_autoencoder_is_trained_on_activations_as_on_their_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let text = "let m = load(); let acts = collect(m, \"demo/corpus.jsonl\", resid_post(4), #{limit: 2500});
        let options = #{features: 64, k: 8, steps: 30, batch: 64, seed: 3};
        let a = sae_train(acts, options);
        let b = sae_train(acts.x, options + #{site: resid_post(4), model: m});
        a.save(\"a.safetensors\"); b.save(\"b.safetensors\");
        assert(a.explained(acts) == b.explained(acts.x), `${a.explained(acts)} ${b.explained(acts.x)}`);
        assert(a.at.to_string() == acts.site.to_string() && load_sae(\"demo\").explained(acts).variance > 0.7, \"the demo's own\");";
    succeeds(&script(text, &out, &[]));
    assert!(fs::read(out.join("a.safetensors")).unwrap() == fs::read(out.join("b.safetensors")).unwrap());
}
