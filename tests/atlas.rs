//! Neuron atlases against the plain path: each text traced alone, all values in a list, the largest picked.

mod common;

use std::fs;
use std::sync::Arc;

use common::*;
use patchscript::analysis::Atlas;
use patchscript::analysis::atlas::Origin;
use patchscript::model::{Model, Point};
use patchscript::run::{Control, RunError, Site, stream};
use serde_json::Value as Json;

fn origin(site: &Site, width: usize, top: usize, max_len: usize) -> Origin {
    let (model, made_of) = (String::new(), String::new());
    Origin { model, site: site.to_string(), width, top, max_len, skip_bos: false, from: 0, made_of }
}

/// What the packed stream makes of these prompts.
fn packed(model: &Model, site: &Site, prompts: &[Vec<u32>], top: usize, memory: Option<usize>) -> Atlas {
    let width = stream::width(site, model.config()).unwrap();
    let mut atlas = Atlas::new(origin(site, width, top, 64));
    let control = Control { memory, ..Control::default() };
    let mut order = Vec::new();
    stream(model, site.at, prompts, &control, |i, values| {
        order.push(i);
        atlas
            .add(i, &i.to_string(), &prompts[i], values, 0)
            .map_err(|error| RunError::Closure(error.to_string()))
    })
    .unwrap();
    assert!(order.is_sorted() && order.len() == prompts.len());
    atlas.finish(|ids| model.texts(ids), |_| String::new());
    atlas
}

/// `(value, row, position)` of each neuron, the largest first, of traces that are run alone.
fn plain(
    model: &Arc<Model>,
    site: &Site,
    prompts: &[Vec<u32>],
    skip: usize,
) -> Vec<Vec<(f32, usize, usize)>> {
    let mut all: Vec<Vec<(f32, usize, usize)>> = Vec::new();
    for (row, ids) in prompts.iter().enumerate() {
        let trace = run(model, &id_tokens(model, ids), vec![], std::slice::from_ref(site));
        let values = flat(&read(&trace, site));
        let width = values.len() / ids.len();
        all.resize(width, Vec::new());
        for (neuron, records) in all.iter_mut().enumerate() {
            let mut best: Option<(f32, usize, usize)> = None;
            for position in skip..ids.len() {
                let value = values[position * width + neuron];
                if best.is_none_or(|(most, ..)| value > most) {
                    best = Some((value, row, position));
                }
            }
            records.extend(best);
        }
    }
    // A stable sort, so that the first of equal ones stays first.
    all.iter_mut().for_each(|records| records.sort_by(|a, b| b.0.total_cmp(&a.0)));
    all
}

/// The same places and values. Texts that begin alike have equal values there, which rounding alone tells apart: of
/// those the atlas may have another, one that the plain path has next to the one in its place.
#[track_caller]
fn agree(atlas: &Atlas, plain: &[Vec<(f32, usize, usize)>], tolerance: f32, name: &str) {
    assert_eq!(atlas.width(), plain.len(), "{name}");
    let mut equal = 0;
    for (neuron, plain) in plain.iter().enumerate() {
        let records = atlas.neuron(neuron).unwrap();
        assert_eq!(records.len(), plain.len().min(atlas.origin.top), "{name}");
        for (record, (value, row, position)) in records.iter().zip(plain) {
            assert!(
                (record.value - value).abs() <= tolerance,
                "{name}, neuron {neuron}: {} {value}",
                record.value
            );
            if (record.row, record.position) != (*row, *position) {
                let same = |(_, row, position): &&(f32, usize, usize)| {
                    (record.row, record.position) == (*row, *position)
                };
                let (other, ..) = plain.iter().find(same).expect("the plain path has that place");
                let rounding = 2e-6 * value.abs().max(1.0);
                assert!((other - value).abs() <= rounding, "{name}, neuron {neuron}: {other} for {value}");
                equal += 1;
            }
        }
    }
    println!("{name}: {equal} of {} places are others of equal value", atlas.width() * atlas.origin.top);
}

/// Prompts of 1 to 40 random tokens.
fn prompts(model: &Model, n: u64) -> Vec<Vec<u32>> {
    let vocab = model.config().d_vocab.min(300) as f32;
    let prompt = |i: u64| {
        let len = 1 + (i * 17 % 40) as usize;
        flat(&random(&[len], i)).iter().map(|x| ((x + 1.0) / 2.0 * vocab) as u32).collect()
    };
    (0..n).map(prompt).collect()
}

#[test]
fn every_family_has_the_atlas_of_its_traces() {
    for arch in ARCHS {
        let model = tiny(arch);
        let prompts = prompts(&model, 30);
        let last = model.config().n_layers - 1;
        for site in [
            Site::new(Point::MlpPost, 0),
            Site::new(Point::MlpPost, last),
            Site::new(Point::Z, last),
            Site::new(Point::ResidPost, 0),
            Site::new(Point::Embed, 0),
        ] {
            let atlas = packed(&model, &site, &prompts, 3, None);
            agree(&atlas, &plain(&model, &site, &prompts, 0), 1e-4, &format!("{arch} {site}"));
        }
        // However little fits at once.
        let site = Site::new(Point::MlpPost, 0);
        let alone = packed(&model, &site, &prompts, 3, Some(1));
        agree(&alone, &plain(&model, &site, &prompts, 0), 1e-6, arch);
    }
}

#[test]
fn sites_without_neurons_are_refused() {
    let model = tiny("llama");
    let config = model.config();
    for (site, told) in [
        (Site::new(Point::Logits, 0), "`site` must be a site of a layer, such as `mlp_post(2)`"),
        (Site::new(Point::LnFinal, 0), "`site` must be a site of a layer, such as `mlp_post(2)`"),
        (Site::new(Point::Pattern, 0), "`site` must be a site with a row a position, such as `mlp_post(2)`"),
        (
            Site::new(Point::MlpPost, 0).neuron(1),
            "`site` must be a whole site, without positions, heads or neurons",
        ),
    ] {
        assert_eq!(stream::width(&site, config).unwrap_err().to_string(), told);
    }
    let long = vec![vec![1; config.n_ctx + 1]];
    let at = Site::new(Point::MlpPost, 0).at;
    assert!(stream(&model, at, &long, &Control::default(), |_, _| Ok(())).is_err());
    let interrupted = Control::default();
    interrupted.interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(stream(&model, at, &[vec![1]], &interrupted, |_, _| Ok(())).unwrap_err().is_interrupt());
}

/// An atlas of rows 100 to `to` that a script makes of the command line's model, and the plain one.
fn from_a_script(model: &Arc<Model>, id: &str, to: usize, max_len: usize) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let layer = model.config().n_layers / 2;
    let site = Site::new(Point::MlpPost, layer);
    let text = format!(
        "let a = atlas(load(), \"demo/corpus.jsonl\", mlp_post({layer}), #{{top: 2, max_len: {max_len}, from: 100, to: {to}}});
         a.save(\"a.safetensors\"); a.save(\"a.json\");"
    );
    succeeds(&script(&text, &out, &["--model", id]));
    let atlas = Atlas::from_bytes("a", &fs::read(out.join("a.safetensors")).unwrap()).unwrap();
    let texts = &corpus(to)[100..];
    let prompts = encoded(model, texts, max_len);
    let tokenizer = model.tokenizer().unwrap();
    let skip = usize::from(prompts[0].first().copied() == tokenizer.bos_id());
    let mut expected = plain(model, &site, &prompts, skip);
    expected.iter_mut().flatten().for_each(|(_, row, _)| *row += 100);
    agree(&atlas, &expected, 1e-4, id);
    let json: Json = serde_json::from_slice(&fs::read(out.join("a.json")).unwrap()).unwrap();
    for neuron in 0..expected.len() {
        let record = &atlas.neuron(neuron).unwrap()[0];
        let (row, position) = (record.row, record.position);
        let entry = &json[neuron.to_string()];
        assert_eq!((&entry["text_index"], &entry["token_position"]), (&(row - 100).into(), &position.into()));
        assert_eq!(entry["activation_score"], f64::from(record.value));
        let ids = &prompts[row - 100];
        assert_eq!(entry["trigger_token"], model.texts(&ids[position..position + 1])[0]);
        let around = position.saturating_sub(5)..(position + 6).min(ids.len());
        assert_eq!(record.context, tokenizer.decode(&ids[around]));
        assert_eq!(atlas.text(row).unwrap().text, texts[row - 100]);
    }
}

#[test]
fn a_script_has_the_atlas_of_the_demo_model() {
    from_a_script(&load("demo"), "demo", 400, 8);
}

#[test]
fn a_script_has_the_atlas_of_gemma() {
    let Some(path) = gemma3_path() else { return };
    let path = path.to_str().unwrap();
    from_a_script(&load(path), path, 200, 128);
}

#[test]
fn the_first_token_counts_where_that_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let text = "let texts = [\" John gave Mary\", \" 21% of it\"];
        let bos = atlas(load(), texts, mlp_post(2), #{skip_bos: false});
        let first = bos.strongest(416).filter(|r| r.position == 0);
        assert(first.len > 0, \"some neuron is strongest at the first token\");
        assert(first.all(|r| r.row == 0 && r.token == load().decode([load().bos_id])), \"of equal ones the first\");
        assert(atlas(load(), texts, mlp_post(2)).strongest(416).all(|r| r.position > 0), \"none is else\");
        let r = bos.find(\"%\")[0];
        assert(load().trace(r.text)[mlp_post(2).at(r.position).neuron(r.neuron)].item() - r.value < 1e-4, \"r.text is whole\");";
    succeeds(&script(text, &out, &[]));
}

#[test]
fn bad_rows_are_refused_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let path = folder.path().join("a.txt");
    let rows: [&[u8]; 6] =
        [b" John gave", b"", &vec![b'a'; 1_000_000], b" caf\xe9", b" Mary gave John", b"\n"];
    fs::write(&path, rows.join(&b'\n')).unwrap();
    let read = ["--allow-read", folder.path().to_str().unwrap()];
    let refused = script(&format!("atlas(load(), {path:?}, mlp_post(2))"), &out, &read);
    let err = String::from_utf8_lossy(&refused.stderr);
    assert!(err.contains("row 1 of") && err.contains("is empty") && err.contains("#{skip: true}"), "{err}");
    let counted = format!(
        "let a = atlas(load(), {path:?}, mlp_post(2), #{{skip: true}});
         assert(a.skipped == #{{empty: 2, huge: 1, not_utf8: 1}} && a.read == 2);
         assert(a.strongest(416).all(|r| [0, 4].contains(r.row)), \"rows of the file\");"
    );
    succeeds(&script(&counted, &out, &read));
}

#[test]
fn a_resumed_atlas_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let texts = corpus(usize::MAX);
    let rows: Vec<String> = (0..9000)
        .map(|i| if i % 97 == 5 { String::new() } else { format!("{} {i}", texts[i % texts.len()]) })
        .collect();
    fs::write(&path, rows.join("\n")).unwrap();
    let text = |top: usize| {
        format!(
            "let a = atlas(load(), {path:?}, mlp_post(1), #{{file: \"a.safetensors\", skip: true, from: 3, top: {top}}}); a.save(\"b.safetensors\");"
        )
    };
    let read = ["--allow-read", folder.path().to_str().unwrap()];
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    succeeds(&script(&text(2), &whole, &read));
    let mut child = command(&text(2), &cut, &read).spawn().expect("the binary starts");
    let file = cut.join("a.safetensors");
    while !file.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = Atlas::from_bytes("a", &fs::read(&file).unwrap()).unwrap();
    assert!(left.next.is_some() && left.read < 9000, "it was stopped on the way");
    let unfinished = script("load_atlas(\"a.safetensors\")", &cut, &["--resume"]);
    let err = String::from_utf8_lossy(&unfinished.stderr);
    assert!(err.contains("`a.safetensors` is not finished"), "{err}");
    let more = [&read[..], &["--resume"]].concat();
    let other = script(&text(1), &cut, &more);
    let err = String::from_utf8_lossy(&other.stderr);
    assert!(
        err.contains("cannot resume: `a.safetensors` is of another model, other texts or other options"),
        "{err}"
    );
    succeeds(&script(&text(2), &cut, &more));
    for name in ["a.safetensors", "b.safetensors"] {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(cut.join(name)).unwrap(), "{name} differs");
    }
    // One that is finished is not made again.
    let started = std::time::Instant::now();
    succeeds(&script(&text(2), &cut, &more));
    assert!(fs::read(whole.join("a.safetensors")).unwrap() == fs::read(&file).unwrap());
    println!("a finished one is taken up in {:?}", started.elapsed());
}
