//! The interactive page in headless Chromium. `PATCHSCRIPT_TEST_BROWSER` is the folder that `tests/browser/install.sh`
//! printed; without it the test is skipped.

#[allow(dead_code, reason = "only `skip` is wanted")]
#[path = "common/skip.rs"]
mod skip;

use std::fs;
use std::path::Path;
use std::process::Command;

use patchscript::plot::{
    Axis, Chart, Colors, Component, Context, Dash, Example, Examples, Figure, Format, Guides, Heatmap,
    Mixture, Panels, Passage, Point, PointColor, Scatter, Series, Stack, Style, Titles, TokenMap, render,
};

/// Numbers without a pattern, the same in each run.
fn noise(i: usize) -> f64 {
    ((i * 2_654_435_761) % 1009) as f64 / 1009.0 - 0.5
}

fn texts(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("·<tok&{i}>")).collect()
}

fn heatmap(n_rows: usize, n_cols: usize) -> Figure {
    let value = |r: usize, c: usize| if r + c == 3 { f32::NAN } else { noise(r * n_cols + c) as f32 };
    let values = (0..n_rows).map(|r| (0..n_cols).map(|c| value(r, c)).collect()).collect();
    let mut map = Heatmap::new(values).expect("cells");
    map.cols = texts(n_cols);
    map.titles = Titles { title: Some("effect".into()), x: Some("token".into()), y: Some("layer".into()) };
    Figure::Heatmap(map)
}

fn chart(style: Style, x: Axis, n: usize) -> Figure {
    let series = |s: usize| Series {
        name: format!("series {s}"),
        color: None,
        values: (0..n).map(|i| noise(i + 7 * s)).collect(),
        errors: (0..n).map(|i| noise(i).abs() / 4.0).collect(),
        dash: Dash::default(),
    };
    let series = (0..2).map(series).collect();
    Figure::Chart(Chart {
        style,
        x,
        series,
        titles: Titles::default(),
        guides: Guides::default(),
        x_rotation: None,
    })
}

fn figures() -> Vec<(&'static str, Figure)> {
    let n = 40;
    let values: Vec<f64> = (0..n).map(noise).collect();
    let scatter = Scatter {
        x: (0..n).map(|i| noise(3 * i + 1)).collect(),
        y: values.clone(),
        labels: texts(n),
        max_labels: 250,
        color: PointColor::Values(values.clone(), Colors::default()),
        size: 5.0,
        x_errors: vec![],
        y_errors: values.iter().map(|x| x.abs() / 8.0).collect(),
        guides: Guides::default(),
        titles: Titles::default(),
    };
    let tokens = TokenMap {
        tokens: texts(n),
        values: values.iter().map(|x| *x as f32).collect(),
        starts: vec![0, n / 2],
        titles: Titles::default(),
        colors: Colors::default(),
    };
    let panels = Panels {
        figures: vec![chart(Style::Bars, Axis::Labels { n: 6, labels: texts(6) }, 6), heatmap(3, 4)],
        columns: 2,
        title: Some("both".into()),
    };
    vec![
        ("heatmap", heatmap(12, 9)),
        ("heatmap_large", heatmap(100, 120)),
        ("line", chart(Style::Lines, Axis::Numbers((0..n).map(|i| i as f64).collect()), n)),
        ("bars", chart(Style::Bars, Axis::Labels { n: 6, labels: texts(6) }, 6)),
        ("hist", Figure::Chart(Chart::histogram(&values, None, None).expect("a histogram"))),
        ("scatter", Figure::Scatter(scatter)),
        ("tokens", Figure::Tokens(tokens)),
        ("panels", Figure::Panels(panels)),
    ]
}

#[test]
fn a_page_answers_the_pointer_without_network() {
    let Some(tools) = std::env::var_os("PATCHSCRIPT_TEST_BROWSER") else {
        return skip::skip("PATCHSCRIPT_TEST_BROWSER is not set; tests/browser/install.sh prints its value");
    };
    let pages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&pages).expect("a folder");
    for (name, figure) in figures() {
        for (extension, format) in [("html", Format::Html), ("csv", Format::Csv)] {
            let bytes = render(&figure, format).expect(name);
            fs::write(pages.join(name).with_extension(extension), bytes).expect("written");
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/check.mjs");
    let output = Command::new("node").arg(script).args([tools.as_ref(), pages.as_os_str()]).output();
    let output = output.expect("node is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_page_of_examples_finds_them_without_network() {
    let Some(tools) = std::env::var_os("PATCHSCRIPT_TEST_BROWSER") else {
        return skip::skip("PATCHSCRIPT_TEST_BROWSER is not set; tests/browser/install.sh prints its value");
    };
    let tokens = ["a ", "</script><b>", " peak", "\n", "", "<img src=x onerror=alert(1)>"];
    let passage =
        |row: usize| Passage { name: format!("row {row}"), tokens: tokens.map(String::from).to_vec() };
    let example = |of: usize| {
        // Each fifth is about the last token.
        let position = if of % 5 == 4 { 5 } else { 2 };
        Example {
            of,
            passage: of % 5,
            position,
            value: 1.5,
            start: 1,
            values: vec![0.765, 1.5, 0.0, -1.0, 1.5],
        }
    };
    let examples = Examples {
        title: "mlp_post.2 of <demo>".into(),
        unit: "neuron".into(),
        passages: (0..5).map(passage).collect(),
        examples: (0..100).map(example).collect(),
    };
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples.html");
    fs::write(&page, examples.page().expect("a page")).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/examples.mjs");
    let output = Command::new("node").arg(script).args([tools.as_ref(), page.as_os_str()]).output();
    let output = output.expect("node is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_page_of_a_mixture_shows_its_components_without_network() {
    let Some(tools) = std::env::var_os("PATCHSCRIPT_TEST_BROWSER") else {
        return skip::skip("PATCHSCRIPT_TEST_BROWSER is not set; tests/browser/install.sh prints its value");
    };
    let tokens = ["a ", "<img src=x onerror=alert(1)>", "\n"];
    let component = |number: usize| Component {
        number,
        facts: vec![("weight", format!("{}", number as f64 / 100.0))],
        contexts: vec![Context {
            tokens: tokens.map(String::from).to_vec(),
            at: if number % 5 == 4 { 0 } else { 1 },
            value: -1.5,
        }],
        points: (0..60)
            .map(|i| Point { x: f64::from(i), y: f64::from(i * i), label: tokens[1].into() })
            .collect(),
    };
    let axes = ["widest direction".to_string(), "second".into()];
    let mixture = Mixture { title: "a <mixture>".into(), axes, components: (0..50).map(component).collect() };
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mixture.html");
    fs::write(&page, mixture.page().expect("a page")).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/mixture.mjs");
    let output = Command::new("node").arg(script).args([tools.as_ref(), page.as_os_str()]).output();
    let output = output.expect("node is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_page_of_many_heatmaps_lets_one_pick_without_network() {
    let Some(tools) = std::env::var_os("PATCHSCRIPT_TEST_BROWSER") else {
        return skip::skip("PATCHSCRIPT_TEST_BROWSER is not set; tests/browser/install.sh prints its value");
    };
    let value = |i: usize| match (i / 24, i / 12 % 2, i / 4 % 3, i % 4) {
        (_, _, _, 3) => f32::NAN,
        (layer, head, row, col) => (100 * layer + 10 * head + row) as f32 + col as f32 / 10.0,
    };
    let stack = Stack {
        picks: vec![("layer".into(), 2), ("head".into(), 2)],
        rows: 3,
        cols: 4,
        values: (0..48).map(value).collect(),
        row_labels: vec![],
        col_labels: (0..4).map(|i| format!("<b>{i}")).collect(),
        titles: Titles { title: Some("all <heads>".into()), x: Some("key".into()), y: Some("query".into()) },
        colors: Colors { label: Some("attention".into()), ..Colors::default() },
    };
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack.html");
    fs::write(&page, stack.page().expect("a page")).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/stack.mjs");
    let output = Command::new("node").arg(script).args([tools.as_ref(), page.as_os_str()]).output();
    let output = output.expect("node is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The colours of a picture and how many of its pixels have each.
fn colors(picture: &Path) -> std::collections::HashMap<[u8; 3], usize> {
    let file = std::io::BufReader::new(fs::File::open(picture).expect("a picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("a header");
    let mut bytes = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut bytes).expect("pixels");
    let mut colors = std::collections::HashMap::new();
    for pixel in bytes[..info.buffer_size()].chunks(info.color_type.samples()) {
        *colors.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
    }
    colors
}

#[test]
fn the_report_of_a_run_shows_it_without_network() {
    let Some(tools) = std::env::var_os("PATCHSCRIPT_TEST_BROWSER") else {
        return skip::skip("PATCHSCRIPT_TEST_BROWSER is not set; tests/browser/install.sh prints its value");
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let script = "let m = load();\n\
                  let g = m.sweep(\"Oslo lies in\", 0..3, 0..2, |l, h| z(l).head(h).zero(), entropy());\n\
                  heatmap([[0, 1], [1, 0]], #{cmap: [\"#ff0000\", \"#0000ff\"]}).save(\"map.png\");\n\
                  print(\"0.25 <b>&amp;\");\n";
    fs::write(folder.join("a.rhai"), script).expect("the script");
    let patchscript = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_patchscript")).current_dir(&folder).args(args).output();
        let output = output.expect("the binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    patchscript(&["run", "a.rhai"]);
    patchscript(&["show", "out/a/run.json", "--to", "a.html"]);
    let (page, picture) = (folder.join("a.html"), folder.join("a.png"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/report.mjs");
    let output = Command::new("node")
        .arg(script)
        .args([tools.as_ref(), page.as_os_str(), picture.as_os_str()])
        .output();
    let output = output.expect("node is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The figure's cells are on the page, two of either colour.
    let colors = colors(&picture);
    let count = |color| colors.get(&color).copied().unwrap_or(0);
    let (red, blue) = (count([255, 0, 0]), count([0, 0, 255]));
    assert!(red > 1000 && blue > 1000 && red.abs_diff(blue) < red / 2, "{red} {blue}");
}
