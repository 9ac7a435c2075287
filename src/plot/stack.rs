//! A page of many heatmaps, one of which is picked by its layer and head, or whatever their axes are. It is no
//! [`Figure`](super::Figure): a picture could not show them all at a size that can be read.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::figure::{check_marks, check_texts};
use super::layout::cell_labels;
use super::scale::Scale;
use super::svg::escaped;
use super::text::one_line;
use super::{Colors, PlotError, Titles};

/// Shades of the colour map on the page.
const SHADES: usize = 256;

/// Heatmaps of one shape and one scale of colours.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// What is picked by, such as `layer` and `head`, and how many there are of each; one or two.
    pub picks: Vec<(String, usize)>,
    pub rows: usize,
    pub cols: usize,
    /// Map after map, the last of `picks` fastest; row after row.
    pub values: Vec<f32>,
    /// One label a row; none at all numbers the rows from 0.
    pub row_labels: Vec<String>,
    pub col_labels: Vec<String>,
    pub titles: Titles,
    pub colors: Colors,
}

impl Stack {
    /// The complete page: one file, which needs neither network nor server.
    ///
    /// # Errors
    /// Labels that are not as many as rows or columns, and values without a scale or more than a browser can show.
    pub fn page(&self) -> Result<Vec<u8>, PlotError> {
        let maps: usize = self.picks.iter().map(|(_, n)| n).product();
        if self.values.is_empty()
            || maps.saturating_mul(self.rows).saturating_mul(self.cols) != self.values.len()
        {
            return Err(PlotError::Empty { figure: "a stack" });
        }
        check_marks("cells", self.values.len())?;
        for (axis, labels, expected) in
            [("rows", &self.row_labels, self.rows), ("columns", &self.col_labels, self.cols)]
        {
            if !labels.is_empty() && labels.len() != expected {
                return Err(PlotError::Labels { axis, found: labels.len(), expected });
            }
        }
        let words =
            self.titles.texts().chain(&self.colors.label).chain(self.picks.iter().map(|(name, _)| name));
        check_texts(self.row_labels.iter().chain(&self.col_labels).chain(words))?;
        let scale = Scale::new(&self.colors, self.values.iter().map(|value| f64::from(*value)))?;
        let step = (scale.vmax - scale.vmin) / SHADES as f64;
        let shades = (0..SHADES).map(|i| scale.color(scale.vmin + step * (i as f64 + 0.5)).to_string());
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let data = json!({
            "picks": self.picks,
            "rows": cell_labels(&self.row_labels, self.rows).0,
            "cols": cell_labels(&self.col_labels, self.cols).0,
            "x": self.titles.x.as_deref().unwrap_or("column"),
            "y": self.titles.y.as_deref().unwrap_or("row"),
            "label": self.colors.label.as_deref().unwrap_or("value"),
            "vmin": scale.vmin,
            "vmax": scale.vmax,
            "shades": shades.collect::<Vec<_>>(),
            "values": BASE64_STANDARD.encode(bytes),
        });
        let title = self.titles.title.as_deref().unwrap_or("heatmaps");
        let page = format!(
            include_str!("page/stack.html"),
            title = escaped(&one_line(title)),
            style = include_str!("page/stack.css"),
            script = include_str!("page/stack.js"),
            // No text may end the script element that holds it.
            data = data.to_string().replace('<', "\\u003c"),
        );
        Ok(page.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        Stack {
            picks: vec![("layer".into(), 2), ("<head>".into(), 1)],
            rows: 1,
            cols: 2,
            values: vec![0.0, 1.0, 0.5, f32::NAN],
            row_labels: vec![],
            col_labels: vec!["</script><b>".into(), "b".into()],
            titles: Titles { title: Some("<i>".into()), ..Titles::default() },
            colors: Colors::default(),
        }
    }

    #[test]
    fn the_page_holds_all_maps_and_no_text_ends_it() {
        let page = String::from_utf8(stack().page().expect("a page")).expect("utf-8");
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("<title>&lt;i&gt;</title>") && !page.contains("<b>"));
        let (_, rest) = page.split_once("id=\"data\">").expect("data");
        let data: serde_json::Value =
            serde_json::from_str(rest.split_once("</script>").expect("an end").0).expect("json");
        assert_eq!(data["picks"], json!([["layer", 2], ["<head>", 1]]));
        let bytes = BASE64_STANDARD.decode(data["values"].as_str().expect("a text")).expect("base64");
        assert_eq!(bytes.len(), 16);
        assert_eq!(bytes[8..12], 0.5f32.to_le_bytes());
        let shades = data["shades"].as_array().expect("colours");
        let first = shades[0].as_str().expect("a colour");
        assert!(shades.len() == 256 && first.starts_with("#44"), "{first}");
        assert!(!page.contains("http:") && !page.contains("https:"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut stack = stack();
        stack.row_labels = vec!["a".into(); 2];
        assert_eq!(stack.page(), Err(PlotError::Labels { axis: "rows", found: 2, expected: 1 }));
        stack.rows = 2;
        assert!(matches!(stack.page(), Err(PlotError::Empty { .. })));
        stack.rows = usize::MAX;
        assert!(matches!(stack.page(), Err(PlotError::Empty { .. })));
    }
}
