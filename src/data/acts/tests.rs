use std::fs::File;
use std::io::Write;

use proptest::prelude::*;

use super::folder::part_file;
use super::*;

const WIDTH: usize = 3;

fn origin() -> Origin {
    Origin {
        model: "m".into(),
        site: "resid_post.1".into(),
        width: WIDTH,
        max_len: 9,
        skip_bos: true,
        center: false,
        limit: None,
        from: 0,
        part_rows: 4,
        made_of: String::new(),
    }
}

/// The value at an entry of a token: no two are the same.
fn value(prompt: usize, position: usize, column: usize) -> f32 {
    (prompt * 100 + position * 10 + column) as f32 + 0.25
}

/// Prompts of the corpus rows given, the first token of each left out.
fn part(prompts: &[(usize, &[u32], Option<&str>)]) -> Part {
    let mut part = Gathering::new(WIDTH);
    for (row, ids, label) in prompts {
        let values: Vec<f32> = (0..ids.len() * WIDTH).map(|i| value(*row, i / WIDTH, i % WIDTH)).collect();
        part.add(*row, ids, *label, &values, 1..ids.len(), false).unwrap();
    }
    part.finish()
}

fn tokens() -> BTreeMap<u32, Vec<u8>> {
    // Two halves of an é.
    let texts: [&[u8]; 6] = [b"<b>", b" one", b" two", b"\xc3", b"\xa9", b"!"];
    texts.iter().enumerate().map(|(id, text)| (id as u32, text.to_vec())).collect()
}

fn parts() -> Vec<Part> {
    vec![
        part(&[(0, &[0, 1, 2, 3], Some("a")), (2, &[0, 4, 5], None)]),
        part(&[(3, &[0, 2], Some("b")), (4, &[0, 1, 1], Some("a"))]),
    ]
}

fn acts() -> Acts {
    Acts::new(origin(), parts(), Arc::new(tokens()))
}

/// What a row has and where it is from, all of it.
type Row = (Vec<f32>, usize, usize, u32, Option<String>, String);

fn rows(acts: &Acts) -> Vec<Row> {
    let row = |i| {
        let place = acts.place(i);
        let label = place.label.map(String::from);
        (acts.row(i).to_vec(), place.prompt, place.position, place.token(), label, acts.context(i, 1))
    };
    (0..acts.len()).map(row).collect()
}

/// The file of a part, written.
fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn a_row_knows_where_it_is_from() {
    let acts = acts();
    assert_eq!((acts.len(), acts.width(), acts.prompts()), (8, 3, 4));
    for (i, place) in acts.places().enumerate() {
        let expected: Vec<f32> = (0..WIDTH).map(|k| value(place.prompt, place.position, k)).collect();
        assert_eq!(acts.row(i), expected);
    }
    let labels: Vec<_> = acts.places().map(|place| place.label.unwrap_or("-")).collect();
    assert_eq!(labels, ["a", "a", "a", "-", "-", "b", "a", "a"]);
    assert_eq!(acts.context(0, 5), "<b> one two\u{fffd}");
    assert_eq!(acts.context(3, 1), "<b>\u{fffd}!");
    assert_eq!(acts.text(&[3, 4]), "é");
    assert_eq!(acts.token_counts().into_iter().collect::<Vec<_>>(), [(1, 3), (2, 2), (3, 1), (4, 1), (5, 1)]);
}

#[test]
fn some_rows_are_as_they_are_among_all() {
    let (acts, all) = (acts(), rows(&acts()));
    for start in 0..=8 {
        for end in start..=8 {
            let some = acts.slice(start..end).unwrap();
            assert_eq!(rows(&some), all[start..end]);
            assert_eq!(rows(&some.slice(0..some.len() / 2).unwrap()), all[start..start + some.len() / 2]);
            // Written and read they are too.
            let parts: Vec<Part> = some.parts().map(|(part, rows)| part.cut(rows)).collect();
            let again = Acts::new(origin(), parts, Arc::new(tokens()));
            assert_eq!(rows(&again), all[start..end]);
            assert_eq!(again.prompts(), some.prompts());
        }
    }
    assert!(acts.slice(0..9).is_none());
}

#[test]
fn what_is_no_number_is_refused_by_its_place() {
    let mut part = Gathering::new(2);
    let values = [0.5, 1.0, 2.0, f32::NAN, 3.0, f32::INFINITY];
    let error = part.add(7, &[1, 2, 3], None, &values, 0..3, false).unwrap_err();
    assert_eq!(error.to_string(), "entry 1 is not a finite number at token 1 of row 7");
    // A position that is left out may be anything.
    let mut part = Gathering::new(2);
    part.add(7, &[1, 2, 3], None, &values, 0..1, true).unwrap();
    assert_eq!(part.finish().row(0), [-0.25, 0.25]);
}

#[test]
fn a_folder_is_read_as_it_was_written() {
    let folder: Vec<Vec<u8>> =
        parts().iter().enumerate().map(|(i, part)| part.to_bytes(&origin(), i).unwrap()).collect();
    let open = |name: &str| {
        let part = (0..folder.len()).find(|i| part_file(*i) == name);
        part.map(|i| file(&folder[i])).ok_or_else(|| std::io::Error::other("missing"))
    };
    let index = acts().index(vec![5, 3]);
    let read = Index::read("i", &index.to_bytes().unwrap()).unwrap();
    assert_eq!(read, index);
    assert_eq!(rows(&read.acts("f", open).unwrap()), rows(&acts()));
    let told = |index: Index| index.acts("f", open).unwrap_err().to_string();
    let refused = "holds no activations that can be read";
    assert_eq!(
        told(acts().index(vec![5, 4])),
        format!("`f/00001.safetensors` {refused}: it has 3 rows, not 4")
    );
    assert_eq!(told(acts().index(vec![5, 3, 1])), format!("`f/00002.safetensors` {refused}: missing"));
    let unfinished = Index::new(&origin(), vec![5, 3], Some(5), &tokens());
    assert_eq!(told(unfinished), "the activations in `f` are not finished");
}

#[test]
fn parts_of_others_are_refused() {
    let bytes = parts()[0].to_bytes(&origin(), 0).unwrap();
    let told = |bytes: &[u8], change: fn(&mut Origin), place| {
        let mut origin = origin();
        change(&mut origin);
        Part::map(&file(bytes), &origin, place).err().unwrap_or_default()
    };
    assert_eq!(told(&bytes, |_| (), 0), "");
    assert_eq!(told(&bytes, |_| (), 1), "it is part 0 of the collection, not 1");
    let other = "it is of another collection: resid_post.1 of m";
    assert_eq!(told(&bytes, |o| o.model = "n".into(), 0), other);
    assert_eq!(told(&bytes, |o| o.width = 4, 0), other);
    assert_eq!(told(&bytes, |o| o.center = true, 0), other);
    // One that lies about its width.
    let wide = Origin { width: 4, ..origin() };
    let lying = parts()[0].to_bytes(&wide, 0).unwrap();
    assert_eq!(told(&lying, |o| o.width = 4, 0), "its activations are of shape [5, 3], not [5, 4]");
    assert!(!told(&bytes[..bytes.len() - 1], |_| (), 0).is_empty());
    assert!(!told(b"", |_| (), 0).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Whatever is done to a file, it gives rows that can all be read, or an error.
    #[test]
    fn a_damaged_part_ends_in_an_error(at in 0.0f64..1.0, byte: u8, cut: bool) {
        let mut bytes = parts()[0].to_bytes(&origin(), 0).unwrap();
        let at = (at * bytes.len() as f64) as usize;
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(part) = Part::map(&file(&bytes), &origin(), 0) {
            rows(&Acts::new(origin(), vec![part], Arc::new(tokens())));
        }
    }
}
