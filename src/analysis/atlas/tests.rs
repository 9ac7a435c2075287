use proptest::prelude::*;

use super::*;

fn origin(width: usize, top: usize) -> Origin {
    let (model, site, made_of) = ("m".into(), "mlp_post.1".into(), "x".into());
    Origin { model, site, width, top, max_len: 128, skip_bos: false, from: 0, made_of }
}

fn text(row: usize) -> String {
    format!("text é {row}")
}

/// The atlas of texts of these values, `[pos, width]` each.
fn atlas(width: usize, top: usize, texts: &[Vec<f32>], skip: usize) -> Atlas {
    let mut atlas = Atlas::new(origin(width, top));
    for (i, values) in texts.iter().enumerate() {
        let ids: Vec<u32> = (0..values.len() / width).map(|p| (100 * i + p) as u32).collect();
        atlas.add(2 * i, &text(2 * i), &ids, values, skip).unwrap();
    }
    atlas.finish(
        |ids| ids.iter().map(|id| format!("<{id}>")).collect(),
        |ids| ids.iter().map(|id| format!("<{id}>")).collect(),
    );
    atlas
}

proptest! {
    /// Against all values sorted: few different ones, so that many are equal.
    #[test]
    fn the_largest_of_each_text_are_kept_in_order(
        width in 1usize..5,
        top in 1usize..4,
        skip in 0usize..3,
        lens in prop::collection::vec(0usize..9, 1..12),
        seed in any::<u64>(),
    ) {
        let mut state = seed | 1;
        let mut number = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); ((state >> 60) as f32) - 7.5 };
        let texts: Vec<Vec<f32>> = lens.iter().map(|len| (0..len * width).map(|_| number()).collect()).collect();
        let atlas = atlas(width, top, &texts, skip);
        for neuron in 0..width {
            let largest = |(i, values): (usize, &Vec<f32>)| {
                let values = values.iter().skip(neuron).step_by(width).copied().enumerate().skip(skip);
                // `max_by` gives the last of equal ones.
                let (position, value) = values.rev_max()?;
                Some((value, 2 * i, position))
            };
            let mut all: Vec<_> = texts.iter().enumerate().filter_map(largest).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(top);
            let found = atlas.neuron(neuron).unwrap();
            let places: Vec<_> = found.iter().map(|r| (r.value, r.row, r.position)).collect();
            prop_assert_eq!(places, all);
            for record in found {
                let values = &texts[record.row / 2];
                let window = record.window_of(values.len() / width).map(|p| values[p * width + neuron]);
                prop_assert_eq!(&record.window[..], &window.collect::<Vec<_>>()[..]);
                prop_assert_eq!(&atlas.text(record.row).unwrap().text, &text(record.row));
            }
        }
        let used: std::collections::BTreeSet<_> = atlas.all().map(|(_, _, record)| record.row).collect();
        prop_assert_eq!(atlas.texts().map(|(row, _)| row).collect::<Vec<_>>(), used.into_iter().collect::<Vec<_>>());
        let bytes = atlas.to_bytes().unwrap();
        let again = Atlas::from_bytes("a", &bytes).unwrap();
        prop_assert_eq!(again.to_bytes().unwrap(), bytes);
        prop_assert_eq!(again.records, atlas.records);
    }

    #[test]
    fn a_damaged_file_is_refused_or_whole(at in 0.0f64..1.0, byte: u8) {
        let mut bytes = atlas(3, 2, &[vec![1.0, 2.0, 3.0], vec![4.0, 0.5, 2.5, 1.0, 2.0, 9.0]], 0).to_bytes().unwrap();
        let at = (at * bytes.len() as f64) as usize;
        bytes[at] = byte;
        if let Ok(atlas) = Atlas::from_bytes("a", &bytes) {
            let shown = atlas.strongest().into_iter().map(|(_, record)| atlas.token(record).len());
            prop_assert!(shown.count() <= 3);
        }
        bytes.truncate(at);
        prop_assert!(Atlas::from_bytes("a", &bytes).is_err());
    }
}

trait FirstMax {
    fn rev_max(self) -> Option<(usize, f32)>;
}

impl<I: Iterator<Item = (usize, f32)>> FirstMax for I {
    fn rev_max(self) -> Option<(usize, f32)> {
        self.fold(None, |best, (p, x)| match best {
            Some((_, y)) if x <= y => best,
            _ => Some((p, x)),
        })
    }
}

#[test]
fn contexts_are_five_tokens_around() {
    let values: Vec<f32> = (0..20).map(|p| if p == 9 { 2.0 } else { 0.0 }).collect();
    let atlas = atlas(1, 1, &[values], 0);
    let record = &atlas.neuron(0).unwrap()[0];
    assert_eq!(record.context, "<4><5><6><7><8><9><10><11><12><13><14>");
    assert_eq!(atlas.token(record), "<9>");
    assert!(atlas.find("9>").len() == 1 && atlas.find("8").is_empty() && atlas.neuron(1).is_none());
}

#[test]
fn what_is_no_number_is_refused() {
    let mut atlas = Atlas::new(origin(2, 1));
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let refused = atlas.add(7, "a", &[1, 2], &[0.0, f32::MAX, 0.0, x], 0).unwrap_err();
        assert_eq!(refused, NotFinite { neuron: 1, row: 7, position: 1 });
    }
    atlas.add(8, "a", &[1, 2], &[f32::NAN, 0.0, 0.0, 1.0], 1).unwrap();
}

/// From Python: `json.dump({"0": {"text_index": 1, …}}, file, indent=4)`.
#[test]
fn json_is_as_python_writes_it() {
    let mut atlas = Atlas::new(Origin { from: 3, ..origin(3, 1) });
    atlas.add(4, "a", &[5], &[9.375, -1.0, 1.0e-5], 0).unwrap();
    atlas.finish(|_| vec!["\n\"é😀\u{7f}\u{1}".into()], |_| String::new());
    let mut json = Vec::new();
    atlas.write_json(&mut json).unwrap();
    let entry = |score: &str| {
        format!(
            "{{\n        \"text_index\": 1,\n        \"token_position\": 0,\n        \"trigger_token\": \"\\n\\\"\\u00e9\\ud83d\\ude00\\u007f\\u0001\",\n        \"activation_score\": {score}\n    }}"
        )
    };
    let expected =
        format!("{{\n    \"0\": {},\n    \"2\": {}\n}}", entry("9.375"), entry("9.999999747378752e-06"));
    assert_eq!(String::from_utf8(json).unwrap(), expected);
    let mut several = Vec::new();
    atlas.origin.top = 2;
    atlas.write_json(&mut several).unwrap();
    let several: serde_json::Value = serde_json::from_slice(&several).unwrap();
    assert_eq!(several["0"]["more"], serde_json::json!([]));
}

#[test]
fn floats_are_as_python_writes_them() {
    for (x, text) in [
        (1.0, "1.0"),
        (0.0001, "0.0001"),
        (1e-5, "1e-05"),
        (1.5e16, "1.5e+16"),
        (9.99e15, "9990000000000000.0"),
        (-2.5e-7, "-2.5e-07"),
        (3.140625, "3.140625"),
        (0.0, "0.0"),
    ] {
        assert_eq!(file::python_float(x), text);
    }
}
