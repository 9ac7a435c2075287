//! The description of a text with a colour for each token.

use super::figure::{Records, check_marks, check_texts, column};
use super::scale::Scale;
use super::{Colors, PlotError, Titles};

/// Tokens in reading order, each on the colour of its value.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenMap {
    pub tokens: Vec<String>,
    /// One a token.
    pub values: Vec<f32>,
    /// The first tokens of texts, where there are several.
    pub starts: Vec<usize>,
    pub titles: Titles,
    pub colors: Colors,
}

impl TokenMap {
    pub(super) fn check(&self) -> Result<(), PlotError> {
        let expected = self.tokens.len();
        if expected == 0 {
            return Err(PlotError::Empty { figure: "a text" });
        }
        if self.values.len() != expected {
            return Err(PlotError::Lengths {
                name: "values",
                found: self.values.len(),
                expected,
                of: "tokens",
            });
        }
        check_marks("tokens", expected)?;
        check_texts(self.tokens.iter().chain(&self.colors.label).chain(self.titles.texts()))?;
        self.scale().map(drop)
    }

    /// From the values to their colours.
    pub(super) fn scale(&self) -> Result<Scale, PlotError> {
        Scale::new(&self.colors, self.values.iter().map(|value| f64::from(*value)))
    }

    pub(super) fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        self.titles.each_text(change);
        self.tokens.iter_mut().chain(&mut self.colors.label).for_each(change);
    }

    /// One row a token.
    pub(super) fn records(&self) -> Records {
        let several = self.starts.len() > 1;
        let mut columns: Vec<String> = several.then(|| "text".to_owned()).into_iter().collect();
        columns.extend([
            "position".to_owned(),
            "token".to_owned(),
            column(self.colors.label.as_ref(), "value"),
        ]);
        let record = |(i, (token, value)): (usize, (&String, &f32))| {
            let text = self.starts.partition_point(|start| *start <= i).saturating_sub(1);
            let start = self.starts.get(text).copied().unwrap_or(0);
            let text = several.then(|| text.to_string()).into_iter();
            text.chain([(i - start).to_string(), token.clone(), value.to_string()]).collect()
        };
        Records::new(columns, self.tokens.iter().zip(&self.values).enumerate().map(record).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_within_each_text() {
        let map = TokenMap {
            tokens: ["a", "b", "c"].map(str::to_owned).to_vec(),
            values: vec![0.5, 1.0, 2.0],
            starts: vec![0, 2],
            titles: Titles::default(),
            colors: Colors::default(),
        };
        let records = map.records();
        assert_eq!(records.columns, ["text", "position", "token", "value"]);
        assert_eq!(records.rows, [["0", "0", "a", "0.5"], ["0", "1", "b", "1"], ["1", "0", "c", "2"]]);
    }
}
