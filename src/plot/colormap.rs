//! Colour maps: a number in [0, 1] to a colour.

use super::{PlotError, Rgb};

/// A colour map: evenly spaced colours, interpolated linearly in sRGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colormap {
    /// At least two.
    stops: Vec<Rgb>,
}

/// matplotlib's maps by matplotlib's names. Those with a capital are ColorBrewer's stops, from which matplotlib
/// interpolates too; the others are its 256 colours sampled at 33 or 52, which stays within 4/255 of all of them.
const NAMED: &[(&str, &[u32])] = &[
    ("viridis", VIRIDIS),
    ("magma", MAGMA),
    ("Blues", BLUES),
    ("RdBu", RD_BU),
    ("coolwarm", COOLWARM),
    ("inferno", INFERNO),
    ("plasma", PLASMA),
    ("cividis", CIVIDIS),
    ("Greens", GREENS),
    ("Greys", GREYS),
    ("Oranges", ORANGES),
    ("Purples", PURPLES),
    ("Reds", REDS),
    ("PuOr", PU_OR),
    ("PRGn", PR_GN),
    ("RdYlBu", RD_YL_BU),
];

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

#[rustfmt::skip]
const INFERNO: &[u32] = &[
    0x000004, 0x040312, 0x0b0724, 0x150b37, 0x210c4a, 0x2f0a5b, 0x3d0965, 0x4a0c6b, 0x57106e,
    0x64156e, 0x71196e, 0x7d1e6d, 0x8a226a, 0x972766, 0xa32c61, 0xb0315b, 0xbc3754, 0xc63d4d,
    0xd04545, 0xda4e3c, 0xe35933, 0xeb6429, 0xf1711f, 0xf67e14, 0xf98c0a, 0xfb9b06, 0xfcaa0f,
    0xfbba1f, 0xf9c932, 0xf5d949, 0xf2e865, 0xf3f586, 0xfcffa4,
];
#[rustfmt::skip]
const PLASMA: &[u32] = &[
    0x0d0887, 0x1b068d, 0x260591, 0x2f0596, 0x38049a, 0x41049d, 0x4903a0, 0x5102a3, 0x5901a5,
    0x6100a7, 0x6900a8, 0x7100a8, 0x7801a8, 0x8004a8, 0x8707a6, 0x8e0ca4, 0x9511a1, 0x9c179e,
    0xa21d9a, 0xa82296, 0xae2892, 0xb42e8d, 0xba3388, 0xbf3984, 0xc43e7f, 0xc9447a, 0xcd4a76,
    0xd24f71, 0xd6556d, 0xda5b69, 0xde6164, 0xe26660, 0xe66c5c, 0xe97257, 0xed7953, 0xf07f4f,
    0xf3854b, 0xf58c46, 0xf79342, 0xf99a3e, 0xfba139, 0xfca835, 0xfdaf31, 0xfeb72d, 0xfebe2a,
    0xfdc627, 0xfcce25, 0xfbd724, 0xf8df25, 0xf6e826, 0xf3f027, 0xf0f921,
];
#[rustfmt::skip]
const CIVIDIS: &[u32] = &[
    0x00224e, 0x002656, 0x002a5f, 0x002d68, 0x003070, 0x083370, 0x163770, 0x203a6f, 0x273e6e,
    0x2e416d, 0x34456c, 0x3a486c, 0x3f4c6c, 0x444f6c, 0x49536c, 0x4e566c, 0x535a6d, 0x575d6d,
    0x5c616e, 0x60646f, 0x656870, 0x696b71, 0x6d6f72, 0x727274, 0x767676, 0x7a7a78, 0x7e7d78,
    0x838179, 0x888578, 0x8d8878, 0x928c78, 0x969077, 0x9b9476, 0xa09875, 0xa59c74, 0xaaa073,
    0xafa471, 0xb5a86f, 0xbaac6d, 0xbfb06b, 0xc4b468, 0xc9b965, 0xcfbd62, 0xd4c15f, 0xdac65b,
    0xdfca57, 0xe5cf52, 0xead34c, 0xf0d846, 0xf6dd3f, 0xfce236, 0xfee838,
];
#[rustfmt::skip]
const GREENS: &[u32] = &[
    0xf7fcf5, 0xe5f5e0, 0xc7e9c0, 0xa1d99b, 0x74c476, 0x41ab5d, 0x238b45, 0x006d2c, 0x00441b,
];
#[rustfmt::skip]
const GREYS: &[u32] = &[
    0xffffff, 0xf0f0f0, 0xd9d9d9, 0xbdbdbd, 0x969696, 0x737373, 0x525252, 0x252525, 0x000000,
];
#[rustfmt::skip]
const ORANGES: &[u32] = &[
    0xfff5eb, 0xfee6ce, 0xfdd0a2, 0xfdae6b, 0xfd8d3c, 0xf16913, 0xd94801, 0xa63603, 0x7f2704,
];
#[rustfmt::skip]
const PURPLES: &[u32] = &[
    0xfcfbfd, 0xefedf5, 0xdadaeb, 0xbcbddc, 0x9e9ac8, 0x807dba, 0x6a51a3, 0x54278f, 0x3f007d,
];
#[rustfmt::skip]
const REDS: &[u32] = &[
    0xfff5f0, 0xfee0d2, 0xfcbba1, 0xfc9272, 0xfb6a4a, 0xef3b2c, 0xcb181d, 0xa50f15, 0x67000d,
];
#[rustfmt::skip]
const PU_OR: &[u32] = &[
    0x7f3b08, 0xb35806, 0xe08214, 0xfdb863, 0xfee0b6, 0xf7f7f7, 0xd8daeb, 0xb2abd2, 0x8073ac,
    0x542788, 0x2d004b,
];
#[rustfmt::skip]
const PR_GN: &[u32] = &[
    0x40004b, 0x762a83, 0x9970ab, 0xc2a5cf, 0xe7d4e8, 0xf7f7f7, 0xd9f0d3, 0xa6dba0, 0x5aae61,
    0x1b7837, 0x00441b,
];
#[rustfmt::skip]
const RD_YL_BU: &[u32] = &[
    0xa50026, 0xd73027, 0xf46d43, 0xfdae61, 0xfee090, 0xffffbf, 0xe0f3f8, 0xabd9e9, 0x74add1,
    0x4575b4, 0x313695,
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
            (
                "inferno",
                [Rgb(0, 0, 4), Rgb(87, 16, 110), Rgb(188, 55, 84), Rgb(249, 142, 9), Rgb(252, 255, 164)],
            ),
            (
                "plasma",
                [Rgb(13, 8, 135), Rgb(126, 3, 168), Rgb(204, 71, 120), Rgb(248, 149, 64), Rgb(240, 249, 33)],
            ),
            (
                "cividis",
                [Rgb(0, 34, 78), Rgb(67, 78, 108), Rgb(125, 124, 120), Rgb(188, 174, 108), Rgb(254, 232, 56)],
            ),
            (
                "Greens",
                [
                    Rgb(247, 252, 245),
                    Rgb(199, 233, 192),
                    Rgb(115, 196, 118),
                    Rgb(34, 138, 68),
                    Rgb(0, 68, 27),
                ],
            ),
            (
                "Greys",
                [Rgb(255, 255, 255), Rgb(217, 217, 217), Rgb(149, 149, 149), Rgb(81, 81, 81), Rgb(0, 0, 0)],
            ),
            (
                "Oranges",
                [Rgb(255, 245, 235), Rgb(253, 208, 162), Rgb(253, 140, 59), Rgb(216, 72, 1), Rgb(127, 39, 4)],
            ),
            (
                "Purples",
                [
                    Rgb(252, 251, 253),
                    Rgb(218, 218, 235),
                    Rgb(158, 154, 200),
                    Rgb(105, 80, 163),
                    Rgb(63, 0, 125),
                ],
            ),
            (
                "Reds",
                [
                    Rgb(255, 245, 240),
                    Rgb(252, 187, 161),
                    Rgb(251, 105, 74),
                    Rgb(202, 24, 29),
                    Rgb(103, 0, 13),
                ],
            ),
            (
                "PuOr",
                [Rgb(127, 59, 8), Rgb(239, 158, 60), Rgb(246, 246, 247), Rgb(152, 141, 190), Rgb(45, 0, 75)],
            ),
            (
                "PRGn",
                [Rgb(64, 0, 75), Rgb(174, 139, 189), Rgb(246, 247, 246), Rgb(126, 195, 127), Rgb(0, 68, 27)],
            ),
            (
                "RdYlBu",
                [
                    Rgb(165, 0, 38),
                    Rgb(249, 142, 82),
                    Rgb(254, 255, 192),
                    Rgb(142, 194, 220),
                    Rgb(49, 54, 149),
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
