//! From a value to its place on the colour map.

use super::{Colormap, Heatmap, PlotError, Rgb};

/// The values that a colour bar spans, and how they fall on a colour map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub vmin: f64,
    pub vmax: f64,
    /// The values at which the map itself begins and ends: `vmin` and `vmax`, or beyond them if centred.
    ends: (f64, f64),
    cmap: Colormap,
}

impl Scale {
    /// # Errors
    /// [`PlotError::NotFinite`], [`PlotError::EmptyScale`].
    pub fn new(map: &Heatmap) -> Result<Self, PlotError> {
        for (name, value) in [("vmin", map.vmin), ("vmax", map.vmax), ("center", map.center)] {
            if let Some(value) = value.filter(|v| !v.is_finite()) {
                return Err(PlotError::NotFinite { name, value });
            }
        }
        let finite = || map.values.iter().flatten().copied().filter(|v| v.is_finite()).map(f64::from);
        let (least, most) = (finite().reduce(f64::min), finite().reduce(f64::max));
        let mut vmin = map.vmin.or(least).or(map.vmax).unwrap_or(0.0);
        let mut vmax = map.vmax.or(most).unwrap_or(vmin);
        if vmin > vmax || (vmin == vmax && map.vmin.is_some() && map.vmax.is_some()) {
            return Err(PlotError::EmptyScale { vmin, vmax });
        }
        if vmin == vmax {
            // All values are alike: room on both sides puts them in the middle of the map.
            let room = if vmin == 0.0 { 1.0 } else { vmin.abs() * 0.1 };
            (vmin, vmax) = (map.vmin.unwrap_or(vmin - room), map.vmax.unwrap_or(vmax + room));
        }
        let ends = match map.center {
            None => (vmin, vmax),
            Some(center) => {
                let reach = (vmax - center).max(center - vmin);
                (center - reach, center + reach)
            }
        };
        Ok(Self { vmin, vmax, ends, cmap: map.cmap.clone() })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: &[f32], change: impl Fn(&mut Heatmap)) -> Result<Scale, PlotError> {
        let mut map = Heatmap::new(vec![values.to_vec()]).expect("a row");
        map.cmap = Colormap::parse("RdBu_r").expect("a known map");
        change(&mut map);
        Scale::new(&map)
    }

    #[test]
    fn the_data_set_the_ends() {
        let plain = scale(&[f32::NEG_INFINITY, -2.0, f32::NAN, 6.0], |_| ()).expect("a scale");
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
        for values in [&[f32::NAN][..], &[0.0, 0.0], &[3.0], &[-3.0], &[f32::INFINITY]] {
            let flat = scale(values, |_| ()).expect("a scale");
            assert!(flat.vmin < flat.vmax, "{values:?}");
        }
        assert_eq!(scale(&[3.0, 3.0], |_| ()).expect("a scale").color(3.0), Rgb(247, 247, 247));
        assert!(scale(&[3.0], |m| m.vmin = Some(3.0)).expect("a scale").vmax > 3.0);
        assert!(scale(&[f32::NAN], |m| m.vmax = Some(-4.0)).expect("a scale").vmin < -4.0);
        let upside_down = scale(&[3.0], |m| m.vmin = Some(5.0));
        assert_eq!(upside_down, Err(PlotError::EmptyScale { vmin: 5.0, vmax: 3.0 }));
        let infinite = scale(&[3.0], |m| m.vmax = Some(f64::INFINITY));
        assert_eq!(infinite, Err(PlotError::NotFinite { name: "vmax", value: f64::INFINITY }));
    }
}
