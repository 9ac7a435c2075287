//! One opaque colour.

use super::PlotError;

/// An opaque sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// The CSS values of the names worth typing.
const NAMED: &[(&str, Rgb)] = &[
    ("white", Rgb(255, 255, 255)),
    ("black", Rgb(0, 0, 0)),
    ("gray", Rgb(128, 128, 128)),
    ("grey", Rgb(128, 128, 128)),
    ("red", Rgb(255, 0, 0)),
    ("orange", Rgb(255, 165, 0)),
    ("yellow", Rgb(255, 255, 0)),
    ("green", Rgb(0, 128, 0)),
    ("teal", Rgb(0, 128, 128)),
    ("cyan", Rgb(0, 255, 255)),
    ("blue", Rgb(0, 0, 255)),
    ("navy", Rgb(0, 0, 128)),
    ("purple", Rgb(128, 0, 128)),
    ("magenta", Rgb(255, 0, 255)),
];

impl Rgb {
    pub(super) const WHITE: Self = Self(255, 255, 255);
    /// Text and axes: seaborn's `.15` grey.
    pub(super) const INK: Self = Self(38, 38, 38);
    /// A cell that holds no number. Darker than the neutral middle of the diverging maps.
    pub(super) const MISSING: Self = Self(205, 205, 205);

    /// Lines behind the data, and from points to their labels.
    pub(super) const FAINT: Self = Self(222, 222, 222);

    /// The colour of the `i`-th of several things: the eight that Okabe and Ito (2008) chose so that the
    /// colour-blind tell them apart, over and over.
    pub(super) fn nth(i: usize) -> Self {
        const COLORS: [u32; 8] =
            [0x0072b2, 0xe69f00, 0x009e73, 0xd55e00, 0xcc79a7, 0x56b4e9, 0xf0e442, 0x000000];
        Self::hex(COLORS[i % COLORS.len()])
    }

    /// The colour `0xRRGGBB`.
    pub(super) const fn hex(rgb: u32) -> Self {
        let [_, r, g, b] = rgb.to_be_bytes();
        Self(r, g, b)
    }

    /// Reads `#RRGGBB` or one of a few CSS names.
    ///
    /// # Errors
    /// [`PlotError::UnknownColor`].
    pub fn parse(text: &str) -> Result<Self, PlotError> {
        let digits =
            text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        let hex = digits.and_then(|d| u32::from_str_radix(d, 16).ok()).map(Self::hex);
        let named = || NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, rgb)| *rgb);
        hex.or_else(named).ok_or_else(|| PlotError::UnknownColor { name: text.to_owned() })
    }

    /// The colour a fraction `t` in [0, 1] of the way to `other`, channel by channel.
    pub(super) fn mix(self, other: Self, t: f64) -> Self {
        let channel = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * t).round() as u8;
        Self(channel(self.0, other.0), channel(self.1, other.1), channel(self.2, other.2))
    }

    /// Dark or white, whichever reads on this background. seaborn's rule: dark above a relative luminance
    /// (WCAG 2) of .408.
    pub(super) fn readable_ink(self) -> Self {
        let linear = |c: u8| match f64::from(c) / 255.0 {
            c if c <= 0.03928 => c / 12.92,
            c => ((c + 0.055) / 1.055).powf(2.4),
        };
        let luminance = 0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2);
        if luminance > 0.408 { Self::INK } else { Self::WHITE }
    }
}

impl std::fmt::Display for Rgb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_names_are_read_and_written_back() {
        assert_eq!(Rgb::parse("#156082").map(|c| c.to_string()), Ok("#156082".into()));
        assert_eq!(Rgb::parse("Navy"), Ok(Rgb(0, 0, 128)));
        for bad in ["", "#15608", "#+15608", "#1560822", "156082", "nvay", "#ééé"] {
            assert_eq!(Rgb::parse(bad), Err(PlotError::UnknownColor { name: bad.into() }));
        }
    }

    #[test]
    fn ink_turns_white_on_dark_cells() {
        // Grey 171 has relative luminance .407, grey 172 has .413.
        assert_eq!(Rgb(171, 171, 171).readable_ink(), Rgb::WHITE);
        assert_eq!(Rgb(172, 172, 172).readable_ink(), Rgb::INK);
    }
}
