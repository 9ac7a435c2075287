//! From a value to its place on the colour map.

use super::figure::FARTHEST;
use super::{Colormap, Colors, PlotError, Rgb};

/// The values that a colour bar spans, and how they fall on a colour map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub vmin: f64,
    pub vmax: f64,
    /// The values at which the map itself begins and ends: `vmin` and `vmax`, or beyond them if centred.
    ends: (f64, f64),
    /// Whether one of the values is a NaN.
    pub missing: bool,
    cmap: Colormap,
}

impl Scale {
    /// # Errors
    /// [`PlotError::NotFinite`], [`PlotError::NoNumbers`], [`PlotError::EmptyScale`].
    pub fn new(colors: &Colors, values: impl Iterator<Item = f64> + Clone) -> Result<Self, PlotError> {
        for (name, value) in [("vmin", colors.vmin), ("vmax", colors.vmax), ("center", colors.center)] {
            if let Some(value) = value.filter(|v| !v.is_finite() || is_far(*v)) {
                return Err(PlotError::NotFinite { name, value });
            }
        }
        if let Some((index, value)) = values.clone().enumerate().find(|(_, v)| is_far(*v)) {
            return Err(PlotError::FarOut { name: "values", index, value });
        }
        let missing = values.clone().any(f64::is_nan);
        let finite = values.filter(|v| v.is_finite());
        let (least, most) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if least > most {
            return Err(PlotError::NoNumbers);
        }
        let (mut vmin, mut vmax) = (colors.vmin.unwrap_or(least), colors.vmax.unwrap_or(most));
        if vmin > vmax || (vmin == vmax && colors.vmin.is_some() && colors.vmax.is_some()) {
            return Err(PlotError::EmptyScale { vmin, vmax });
        }
        if vmin == vmax {
            // All values are alike: room on both sides puts them in the middle of the map.
            let room = if vmin == 0.0 { 1.0 } else { vmin.abs() * 0.1 };
            (vmin, vmax) = (colors.vmin.unwrap_or(vmin - room), colors.vmax.unwrap_or(vmax + room));
        }
        let ends = match colors.center {
            None => (vmin, vmax),
            Some(center) => {
                let reach = (vmax - center).max(center - vmin);
                (center - reach, center + reach)
            }
        };
        Ok(Self { vmin, vmax, ends, missing, cmap: colors.cmap.clone() })
    }

    /// The colour of `value`: clamped to the scale, grey for a NaN.
    pub fn color(&self, value: f64) -> Rgb {
        if value.is_nan() {
            return Rgb::MISSING;
        }
        let (first, last) = self.ends;
        self.cmap.at((value.clamp(self.vmin, self.vmax) - first) / (last - first))
    }
}

/// Is this a number too large for differences of such numbers?
fn is_far(value: f64) -> bool {
    value.is_finite() && value.abs() > FARTHEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: &[f64], change: impl Fn(&mut Colors)) -> Result<Scale, PlotError> {
        let mut colors =
            Colors { cmap: Colormap::parse("RdBu_r").expect("a known map"), ..Colors::default() };
        change(&mut colors);
        Scale::new(&colors, values.iter().copied())
    }

    #[test]
    fn the_data_set_the_ends() {
        let plain = scale(&[f64::NEG_INFINITY, -2.0, f64::NAN, 6.0], |_| ()).expect("a scale");
        assert_eq!((plain.vmin, plain.vmax), (-2.0, 6.0));
        assert_eq!(plain.color(f64::NEG_INFINITY), Rgb(5, 48, 97));
        assert_eq!(plain.color(6.0), Rgb(103, 0, 31));
        assert_eq!(plain.color(2.0), Rgb(247, 247, 247));
        assert_eq!(plain.color(f64::NAN), Rgb::MISSING);
    }

    #[test]
    fn a_centre_is_neutral_and_shares_one_scale() {
        let centred = scale(&[-2.0, 6.0], |m| m.center = Some(0.0)).expect("a scale");
        assert_eq!(centred.color(0.0), Rgb(247, 247, 247));
        assert_eq!(centred.color(6.0), Rgb(103, 0, 31));
        // A third of the way to the blue end, not all of it: t = (-2 + 6) / 12.
        assert_eq!(centred.color(-2.0), centred.cmap.at(1.0 / 3.0));
        assert_eq!(centred.color(-6.0), centred.color(-2.0), "clamped to vmin");
        // A centre outside the data still is the neutral colour's value.
        let outside = scale(&[1.0, 3.0], |m| m.center = Some(0.0)).expect("a scale");
        assert_eq!(outside.color(1.5), outside.cmap.at(0.75));
    }

    #[test]
    fn degenerate_scales() {
        for values in [&[0.0, 0.0][..], &[3.0], &[-3.0, f64::NAN], &[-3.0, f64::INFINITY]] {
            let flat = scale(values, |_| ()).expect("a scale");
            assert!(flat.vmin < flat.vmax, "{values:?}");
        }
        assert_eq!(scale(&[3.0, 3.0], |_| ()).expect("a scale").color(3.0), Rgb(247, 247, 247));
        assert!(scale(&[3.0], |m| m.vmin = Some(3.0)).expect("a scale").vmax > 3.0);
        for values in [&[][..], &[f64::NAN], &[f64::INFINITY, f64::NAN]] {
            assert_eq!(scale(values, |_| ()), Err(PlotError::NoNumbers));
        }
        let upside_down = scale(&[3.0], |m| m.vmin = Some(5.0));
        assert_eq!(upside_down, Err(PlotError::EmptyScale { vmin: 5.0, vmax: 3.0 }));
        let infinite = scale(&[3.0], |m| m.vmax = Some(f64::INFINITY));
        assert_eq!(infinite, Err(PlotError::NotFinite { name: "vmax", value: f64::INFINITY }));
    }
}
