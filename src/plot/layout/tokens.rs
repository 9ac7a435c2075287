//! Tokens as running text.

use super::super::scene::{Anchor, Mark, Rect, Scene, Text};
use super::super::text::{one_line, width};
use super::super::tokens::TokenMap;
use super::super::{PlotError, TOKEN_LINE_BREAK};
use super::{Room, colorbar, finish};

/// Lines are broken here; only a token that alone is longer goes beyond.
const LINE_WIDTH: f64 = 640.0;
const SIZE: f64 = 13.0;
/// Left and right of a token's text.
const PAD: f64 = 3.0;
const BOX_HEIGHT: f64 = 20.0;
const LINE_STEP: f64 = 24.0;
/// Between texts.
const TEXT_GAP: f64 = 10.0;
/// Between tokens, so that neighbours of one colour are told apart.
const GAP: f64 = 1.0;

/// Lays out `map`, which has been checked.
///
/// # Errors
/// Those of [`Scale::new`](super::super::scale::Scale::new).
pub(in super::super) fn lay_out(map: &TokenMap, room: Room) -> Result<Scene, PlotError> {
    let scale = map.scale()?;
    let (mut marks, mut texts, mut spots) = (Vec::new(), Vec::new(), Vec::new());
    let (mut x, mut y) = (0.0, 0.0);
    let mut area = Rect::new(0.0, 0.0, 0.0, BOX_HEIGHT);
    let line = room.data.unwrap_or(LINE_WIDTH);
    for (i, (token, value)) in map.tokens.iter().zip(&map.values).enumerate() {
        let token = one_line(token);
        let length = width(&token, SIZE) + 2.0 * PAD;
        if map.starts.contains(&i) && i > 0 {
            // A text begins on a line of its own, apart from the one before.
            (x, y) = (0.0, y + if x > 0.0 { LINE_STEP } else { 0.0 } + TEXT_GAP);
        } else if x > 0.0 && x + length > line {
            (x, y) = (0.0, y + LINE_STEP);
        }
        let rect = Rect::new(x, y, length, BOX_HEIGHT);
        let color = scale.color(f64::from(*value));
        let (center, middle) = rect.center();
        texts.push(Mark::Text(Text {
            color: color.readable_ink(),
            ..Text::new(token.as_str(), center, middle, Anchor::Middle, SIZE)
        }));
        marks.push(Mark::Fill(rect, color));
        spots.push(rect);
        area = area.union(rect);
        x += length + GAP;
        if token.ends_with(TOKEN_LINE_BREAK) {
            (x, y) = (0.0, y + LINE_STEP);
        }
    }
    marks.extend(texts);
    colorbar::place(&scale, map.colors.label.as_deref(), area, &mut marks);
    Ok(finish(marks, spots, area, &map.titles, room))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::{Colors, Titles};
    use super::super::testing::assert_legible;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn tokens_are_read_in_order_and_never_overlap(
            tokens in prop::collection::vec("[a-zA-Z·⏎日<|>]{1,24}", 1..120),
            value in -1.0f32..1.0,
        ) {
            let values = (0..tokens.len()).map(|i| value * i as f32).collect();
            let (titles, colors) = (Titles::default(), Colors::default());
            let starts = vec![0, tokens.len() / 2];
            let map = TokenMap { tokens, values, starts, titles, colors };
            let scene = lay_out(&map, Room::FREE).expect("a layout");
            assert_legible(&scene, true);
            prop_assert!(scene.spots.iter().is_sorted_by_key(|spot| (spot.top as i64, spot.left as i64)));
            prop_assert_eq!(scene.spots.len(), map.tokens.len());
        }
    }
}
