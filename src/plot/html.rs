//! Draws a figure as a page that answers the pointer: one file, which needs neither network nor server.
//!
//! The picture is the SVG. Beside it the page holds the figure's records and where each is drawn; `page.js`
//! finds the one under the pointer.

use serde_json::json;

use super::figure::{Figure, Records};
use super::scene::{Rect, Scene};
use super::svg::{self, escaped};
use super::text::one_line;

/// The complete document.
pub(super) fn draw(figure: &Figure, scene: &Scene) -> String {
    let name = one_line(figure.name().unwrap_or("figure"));
    let Records { columns, rows } = figure.records();
    let spot = |rect: &Rect| [rect.left, rect.top, rect.width(), rect.height()].map(svg::rounded);
    let spots: Vec<_> = scene.spots.iter().map(spot).collect();
    let file_name: String =
        name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).take(60).collect();
    let data = json!({ "name": file_name, "columns": columns, "rows": rows, "spots": spots }).to_string();
    format!(
        include_str!("page/page.html"),
        title = escaped(&name),
        style = include_str!("page/page.css"),
        script = include_str!("page/page.js"),
        svg = svg::draw(scene, None),
        // No text may end the script element that holds it.
        data = data.replace('<', "\\u003c"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Heatmap, render};
    use super::*;

    #[test]
    fn the_page_holds_the_picture_and_the_data() {
        let mut map = Heatmap::new(vec![vec![0.1, -2.0]]).expect("cells");
        map.cols = vec!["</script><b>".into(), "·{data}".into()];
        map.titles.title = Some("one & two\nthree".into());
        let page = render(&Figure::Heatmap(map), Format::Html).expect("a page");
        let page = String::from_utf8(page).expect("utf-8");
        assert!(page.contains("<title>one &amp; two</title>"));
        assert_eq!(page.matches("</script>").count(), 2, "labels end no element");
        let (_, rest) = page.split_once("id=\"figure\">").expect("data");
        let (data, _) = rest.split_once("</script>").expect("an end");
        let data: serde_json::Value = serde_json::from_str(data).expect("json");
        assert_eq!(data["rows"][0], json!(["0", "0", "</script><b>", "0.1"]));
        assert_eq!(data["rows"][1][2], "·{data}");
        let [first, second] = [&data["spots"][0], &data["spots"][1]];
        assert_eq!(first[0].as_f64().zip(first[2].as_f64()).map(|(x, w)| x + w), second[0].as_f64());
        for word in ["http://", "https://"] {
            let links: Vec<_> = page.match_indices(word).map(|(at, _)| &page[at..at + 26]).collect();
            assert!(links.iter().all(|link| link.starts_with("http://www.w3.org/2000/svg")), "{links:?}");
        }
    }
}
