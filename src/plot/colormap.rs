//! Colour maps: a number in [0, 1] to a colour.

use super::{PlotError, Rgb};

/// A colour map: evenly spaced colours, interpolated linearly in sRGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colormap {
    /// At least two.
    stops: Vec<Rgb>,
}

/// matplotlib's maps by matplotlib's names. Blues and RdBu are ColorBrewer's stops, from which matplotlib
/// interpolates too; the others are its 256 colours sampled at 33, which stays within 2/255 of all of them.
const NAMED: &[(&str, &[u32])] =
    &[("viridis", VIRIDIS), ("magma", MAGMA), ("Blues", BLUES), ("RdBu", RD_BU), ("coolwarm", COOLWARM)];

impl Colormap {
    /// The map of that matplotlib name; a further `_r` reverses it.
    ///
    /// # Errors
    /// [`PlotError::UnknownColormap`].
    pub fn parse(name: &str) -> Result<Self, PlotError> {
        let (base, reversed) = match name.strip_suffix("_r") {
            Some(base) => (base, true),
            None => (name, false),
        };
        let Some((_, table)) = NAMED.iter().find(|(known, _)| *known == base) else {
            return Err(PlotError::UnknownColormap { name: name.to_owned() });
        };
        let mut stops: Vec<Rgb> = table.iter().map(|rgb| Rgb::hex(*rgb)).collect();
        if reversed {
            stops.reverse();
        }
        Ok(Self { stops })
    }

    /// A map through `colors`, each `#RRGGBB` or a plain name, evenly spaced.
    ///
    /// # Errors
    /// [`PlotError::TooFewColors`] below two, [`PlotError::UnknownColor`].
    pub fn from_colors<S: AsRef<str>>(colors: &[S]) -> Result<Self, PlotError> {
        if colors.len() < 2 {
            return Err(PlotError::TooFewColors { found: colors.len() });
        }
        Ok(Self { stops: colors.iter().map(|c| Rgb::parse(c.as_ref())).collect::<Result<_, _>>()? })
    }

    /// The names that [`Colormap::parse`] knows, each also with `_r` appended.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// The colour at `t`, which is clamped to [0, 1]; a NaN counts as 0.
    pub fn at(&self, t: f64) -> Rgb {
        let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
        let along = t * (self.stops.len() - 1) as f64;
        let below = (along as usize).min(self.stops.len() - 2);
        self.stops[below].mix(self.stops[below + 1], along - below as f64)
    }
}

impl Default for Colormap {
    /// viridis.
    fn default() -> Self {
        Self { stops: VIRIDIS.iter().map(|rgb| Rgb::hex(*rgb)).collect() }
    }
}

#[rustfmt::skip]
const VIRIDIS: &[u32] = &[
    0x440154, 0x470d60, 0x48186a, 0x482374, 0x472d7b, 0x453681, 0x424086, 0x3f4989, 0x3b528b,
    0x375a8d, 0x33638d, 0x2f6a8e, 0x2c728e, 0x297a8e, 0x26818e, 0x23898e, 0x21908c, 0x1f988b,
    0x1f9f88, 0x21a685, 0x28ae80, 0x31b57b, 0x3ebc74, 0x4cc26c, 0x5dc963, 0x6ece58, 0x82d34c,
    0x96d83f, 0xabdc32, 0xc0df24, 0xd5e21a, 0xeae51a, 0xfde725,
];
#[rustfmt::skip]
const MAGMA: &[u32] = &[
    0x000004, 0x030311, 0x0a0822, 0x130d33, 0x1d1146, 0x28115a, 0x36106a, 0x430f76, 0x50127c,
    0x5d177f, 0x691c81, 0x762181, 0x822681, 0x8f2a81, 0x9c2e7f, 0xa9327d, 0xb63779, 0xc33b75,
    0xcf4170, 0xdb486a, 0xe65163, 0xee5c5e, 0xf5695c, 0xf9785d, 0xfb8761, 0xfd9668, 0xfea571,
    0xfeb47b, 0xfec387, 0xfed194, 0xfde0a2, 0xfceeb0, 0xfcfdbf,
];
#[rustfmt::skip]
const COOLWARM: &[u32] = &[
    0x3b4cc0, 0x445acc, 0x4d68d7, 0x5775e1, 0x6282ea, 0x6c8ef1, 0x779af7, 0x82a5fb, 0x8db0fe,
    0x98b9ff, 0xa3c2fe, 0xaec9fc, 0xb8d0f9, 0xc2d5f4, 0xccd9ee, 0xd5dbe6, 0xdddddd, 0xe5d8d1,
    0xecd3c5, 0xf1ccb9, 0xf4c4ad, 0xf7bba0, 0xf7b194, 0xf7a687, 0xf49a7b, 0xf18d6f, 0xec7f63,
    0xe57058, 0xde604d, 0xd55042, 0xcb3e38, 0xc0282f, 0xb40426,
];
#[rustfmt::skip]
const BLUES: &[u32] = &[
    0xf7fbff, 0xdeebf7, 0xc6dbef, 0x9ecae1, 0x6baed6, 0x4292c6, 0x2171b5, 0x08519c, 0x08306b,
];
#[rustfmt::skip]
const RD_BU: &[u32] = &[
    0x67001f, 0xb2182b, 0xd6604d, 0xf4a582, 0xfddbc7, 0xf7f7f7, 0xd1e5f0, 0x92c5de, 0x4393c3,
    0x2166ac, 0x053061,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// `matplotlib.colormaps[name](t)` times 255 (matplotlib 3.11.2), at t = 0, 1/4, 1/2, 3/4, 1. matplotlib
    /// looks up one of 256 colours, so it may be a step away from the interpolated one.
    #[test]
    fn colours_are_matplotlibs() {
        let known: &[(&str, [Rgb; 5])] = &[
            (
                "viridis",
                [Rgb(68, 1, 84), Rgb(59, 82, 139), Rgb(33, 145, 140), Rgb(94, 201, 98), Rgb(253, 231, 37)],
            ),
            (
                "magma",
                [Rgb(0, 0, 4), Rgb(81, 18, 124), Rgb(183, 55, 121), Rgb(252, 137, 97), Rgb(252, 253, 191)],
            ),
            (
                "Blues",
                [
                    Rgb(247, 251, 255),
                    Rgb(198, 219, 239),
                    Rgb(106, 174, 214),
                    Rgb(32, 112, 180),
                    Rgb(8, 48, 107),
                ],
            ),
            (
                "RdBu",
                [Rgb(103, 0, 31), Rgb(229, 131, 104), Rgb(246, 247, 247), Rgb(104, 171, 208), Rgb(5, 48, 97)],
            ),
            (
                "coolwarm",
                [
                    Rgb(59, 76, 192),
                    Rgb(141, 176, 254),
                    Rgb(221, 220, 220),
                    Rgb(244, 152, 122),
                    Rgb(180, 4, 38),
                ],
            ),
        ];
        for (name, colors) in known {
            let map = Colormap::parse(name).expect("a known map");
            for (i, expected) in colors.iter().enumerate() {
                let found = map.at(i as f64 / 4.0);
                let off = [(found.0, expected.0), (found.1, expected.1), (found.2, expected.2)];
                assert!(off.iter().all(|(a, b)| a.abs_diff(*b) <= 3), "{name} {i}: {found} {expected}");
            }
        }
    }

    #[test]
    fn stops_are_met_exactly_and_ends_hold() {
        let map = Colormap::parse("RdBu_r").expect("a known map");
        assert_eq!(
            (map.at(0.0), map.at(0.5), map.at(1.0)),
            (Rgb(5, 48, 97), Rgb(247, 247, 247), Rgb(103, 0, 31))
        );
        assert_eq!(
            (map.at(-1.0), map.at(f64::INFINITY), map.at(f64::NAN)),
            (map.at(0.0), map.at(1.0), map.at(0.0))
        );
        assert_eq!(Colormap::default(), Colormap::parse("viridis").expect("a known map"));
    }

    #[test]
    fn a_list_of_colours_is_a_map() {
        let map = Colormap::from_colors(&["white", "#156082"]).expect("two colours");
        assert_eq!(map.at(0.5), Rgb(138, 176, 193));
        assert_eq!(Colormap::from_colors(&["white"]), Err(PlotError::TooFewColors { found: 1 }));
        assert_eq!(Colormap::from_colors(&["white", "x"]), Err(PlotError::UnknownColor { name: "x".into() }));
        assert!(matches!(Colormap::parse("blues"), Err(PlotError::UnknownColormap { .. })));
    }
}
