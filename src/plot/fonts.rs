//! Fonts of this machine, for what the embedded one lacks: Chinese, Devanagari, emoji, ….
//!
//! They are looked for where systems keep them, or where the variable `PATCHSCRIPT_FONTS` says: files and folders,
//! separated as in `PATH`. Only fonts with outlines draw; emoji in colour are pictures.

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use memmap2::Mmap;
use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// Names them in place of the system's folders.
pub const VARIABLE: &str = "PATCHSCRIPT_FONTS";
/// No machine has more that matter, and none nests its folders deeper.
const MOST_FONTS: usize = 5_000;
const DEEPEST: usize = 6;

/// Fonts in the order in which they are asked.
pub(super) struct Fonts {
    paths: Vec<PathBuf>,
    /// Opened when the first is needed.
    faces: OnceLock<Vec<Face<'static>>>,
    /// Which face draws a character, as far as that was asked.
    known: Mutex<HashMap<char, Option<usize>>>,
}

impl Fonts {
    /// Those of this machine.
    pub fn of_this_machine() -> &'static Fonts {
        static FONTS: LazyLock<Fonts> = LazyLock::new(|| match env::var_os(VARIABLE) {
            Some(paths) => Fonts::new(env::split_paths(&paths)),
            None => Fonts::new(folders()),
        });
        &FONTS
    }

    /// Fonts among files and below folders.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Fonts {
        let paths = paths.into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
        Fonts { paths, faces: OnceLock::new(), known: Mutex::default() }
    }

    fn faces(&self) -> &[Face<'static>] {
        self.faces.get_or_init(|| {
            let mut files = Vec::new();
            self.paths.iter().for_each(|path| collect(path, DEEPEST, &mut files));
            files.sort_by_cached_key(|path| (oddity(path), path.clone()));
            files.iter().filter_map(|path| open(path)).collect()
        })
    }

    /// The first face that draws `c`.
    pub fn drawing(&self, c: char) -> Option<&Face<'static>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let index = known.entry(c).or_insert_with(|| self.faces().iter().position(|face| draws(face, c)));
        index.and_then(|index| self.faces().get(index))
    }
}

/// Where systems keep their fonts.
fn folders() -> Vec<PathBuf> {
    let fixed = [
        "/usr/share/fonts",
        "/usr/local/share/fonts",
        "/run/current-system/sw/share/X11/fonts",
        "/System/Library/Fonts",
        "/Library/Fonts",
        "/system/fonts",
    ];
    let below = |variable: &str, folder: &str| Some(PathBuf::from(env::var_os(variable)?).join(folder));
    let home = |folder: &str| Some(env::home_dir()?.join(folder));
    let others = [
        below("XDG_DATA_HOME", "fonts"),
        home(".local/share/fonts"),
        home(".fonts"),
        home("Library/Fonts"),
        below("WINDIR", "Fonts"),
        below("LOCALAPPDATA", "Microsoft/Windows/Fonts"),
    ];
    fixed.into_iter().map(PathBuf::from).chain(others.into_iter().flatten()).collect()
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        if depth > 0 {
            entries.for_each(|entry| collect(&entry.path(), depth - 1, files));
        }
    } else if is_font(path) && path.is_file() && files.len() < MOST_FONTS {
        files.push(path.into());
    }
}

fn is_font(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    ["ttf", "otf", "ttc", "otc"].contains(&extension.as_str())
}

/// How far a font is from an upright text font without serifs, by its name.
fn oddity(path: &Path) -> usize {
    let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
    let marks: [(usize, &[&str]); 4] = [
        (8, &["bold", "black", "heavy", "thin", "light", "condensed", "extra"]),
        (4, &["italic", "oblique"]),
        (2, &["serif", "mincho", "ming", "song"]),
        (1, &["mono"]),
    ];
    marks
        .into_iter()
        .filter(|(_, words)| words.iter().any(|word| name.contains(word)))
        .map(|(odd, _)| odd)
        .sum()
}

/// The first face of a file, which stays open; none if it is no font.
fn open(path: &Path) -> Option<Face<'static>> {
    let file = File::open(path).ok()?;
    // SAFETY: like every program that draws with the system's fonts: they are replaced, not changed in place.
    let map = unsafe { Mmap::map(&file) }.ok()?;
    Face::parse(&map, 0).ok()?;
    let bytes: &'static Mmap = Box::leak(Box::new(map));
    Face::parse(bytes, 0).ok()
}

fn draws(face: &Face, c: char) -> bool {
    face.glyph_index(c).is_some_and(|glyph| c.is_whitespace() || has_outline(face, glyph))
}

/// A font may have a glyph as a bitmap alone, or as an empty place for one.
fn has_outline(face: &Face, glyph: GlyphId) -> bool {
    struct Nowhere;
    impl OutlineBuilder for Nowhere {
        fn move_to(&mut self, _: f32, _: f32) {}
        fn line_to(&mut self, _: f32, _: f32) {}
        fn quad_to(&mut self, _: f32, _: f32, _: f32, _: f32) {}
        fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, _: f32, _: f32) {}
        fn close(&mut self) {}
    }
    face.outline_glyph(glyph, &mut Nowhere).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fixtures/make_font.py` wrote it: 東, 京, न, म and ्, and a glyph of 🙂 without an outline.
    pub const BLOCKS: &str = "tests/fixtures/blocks.ttf";

    #[test]
    fn fonts_are_found_in_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::copy(BLOCKS, folder.path().join("a/Blocks.TTF")).unwrap();
        std::fs::write(folder.path().join("broken.otf"), "no font").unwrap();
        std::fs::write(folder.path().join("empty.ttf"), "").unwrap();
        for fonts in [Fonts::new([folder.path().to_path_buf()]), Fonts::new([PathBuf::from(BLOCKS)])] {
            assert_eq!(fonts.faces().len(), 1);
            assert!(fonts.drawing('東').is_some() && fonts.drawing('南').is_none());
            assert!(fonts.drawing('🙂').is_none(), "it has a glyph, and no outline");
        }
        assert!(Fonts::new([PathBuf::new(), "no/such/folder".into()]).drawing('東').is_none());
    }

    #[test]
    fn plain_fonts_come_first() {
        let mut names = [
            "B-Bold.ttf",
            "NotoSerifCJK-Regular.ttc",
            "NotoSansCJK-Regular.ttc",
            "S-BoldItalic.ttf",
            "M-Mono.ttf",
        ];
        names.sort_by_key(|name| oddity(Path::new(name)));
        assert_eq!(names[..3], ["NotoSansCJK-Regular.ttc", "M-Mono.ttf", "NotoSerifCJK-Regular.ttc"]);
    }
}
