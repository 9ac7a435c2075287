use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A script's folder and a working folder with a file each, and a folder that neither may reach.
struct House {
    root: TempDir,
}

impl House {
    fn new() -> House {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("scripts/people.tsv", "script"),
            ("desk/people.tsv", "work"),
            ("desk/words.txt", "words"),
            ("secret/key", "key"),
        ] {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        House { root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    fn files(&self) -> Files {
        Files::new(self.at("desk"), "out/demo").with_script_dir(self.at("scripts"))
    }

    #[cfg(unix)]
    fn link(&self, from: &str, to: &str) {
        std::os::unix::fs::symlink(to, self.at(from)).unwrap();
    }

    /// Every file below `path` with its text.
    fn tree(&self, path: &str) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut dirs = vec![self.at(path)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                } else {
                    found.push((entry.path(), fs::read_to_string(entry.path()).unwrap_or_default()));
                }
            }
        }
        found.sort();
        found
    }
}

fn put(files: &Files, path: &str, text: &str) -> Result<PathBuf, FileError> {
    files.write(path, |to| to.write_all(text.as_bytes()))
}

fn told(result: Result<impl std::fmt::Debug, FileError>, house: &House) -> (String, String) {
    let error = result.unwrap_err();
    let shorten = |text: String| text.replace(house.at("").to_str().unwrap(), "/");
    (shorten(error.to_string()), shorten(error.help().unwrap_or_default()))
}

#[test]
fn the_scripts_folder_comes_before_the_working_folder() {
    let house = House::new();
    let files = house.files();
    assert_eq!(files.read_text("people.tsv").unwrap(), "script");
    assert_eq!(files.read_text("words.txt").unwrap(), "words");
    assert_eq!(files.read_text(house.at("desk/people.tsv").to_str().unwrap()).unwrap(), "work");
    assert_eq!(files.read_text("../scripts/../scripts/people.tsv").unwrap(), "script");
    let repl = Files::new(house.at("desk"), "out/repl");
    assert_eq!(repl.read_text("people.tsv").unwrap(), "work");
    assert_eq!(files.read_path(".").unwrap(), house.at("scripts"), "folders may be read too");
}

#[test]
fn a_missing_file_is_told_with_the_places_and_the_nearest_name() {
    let house = House::new();
    assert_eq!(
        told(house.files().read("poeple.tsv"), &house),
        (
            "no file `poeple.tsv`; looked for `/scripts/poeple.tsv`, `/desk/poeple.tsv`, \
             `/desk/out/demo/poeple.tsv`"
                .into(),
            "did you mean `people.tsv`?".into()
        )
    );
    assert_eq!(
        told(house.files().read("xyz"), &house).1,
        "write the path as seen from the script or from the working folder"
    );
}

#[test]
fn reads_outside_are_refused_until_allowed() {
    let house = House::new();
    let secret = house.at("secret/key").display().to_string();
    assert_eq!(
        told(house.files().read("../secret/key"), &house),
        (
            "may not read `../secret/key`: it leads to `/secret/key`, outside the readable folders".into(),
            "allow it with `--allow-read /secret`".into()
        )
    );
    assert!(matches!(house.files().read(&secret), Err(FileError::ReadOutside { .. })));
    let nothing = house.at("secret/nothing").display().to_string();
    assert!(matches!(house.files().read(&nothing), Err(FileError::ReadOutside { .. })), "must not tell");
    let files = house.files().with_read_root("../secret");
    assert_eq!(files.read_text(&secret).unwrap(), "key");
    assert!(matches!(files.read(&nothing), Err(FileError::Missing { .. })));
}

#[test]
fn only_regular_utf8_files_are_text() {
    let house = House::new();
    fs::write(house.at("desk/latin1"), b"caf\xe9").unwrap();
    fs::write(house.at("desk/bom"), "\u{feff}a").unwrap();
    let files = house.files();
    assert_eq!(files.read_text("bom").unwrap(), "a");
    assert_eq!(
        told(files.read_text("latin1"), &house),
        (
            "`latin1` is not utf-8 text: the first bad byte is at offset 3".into(),
            "convert it first, for example with `iconv -f latin1 -t utf-8 latin1`".into()
        )
    );
    assert_eq!(told(files.read("."), &house).0, "`.` is not a regular file");
    let short = house.files().with_longest(4);
    assert_eq!(short.read_text("bom").unwrap(), "a");
    let (message, help) = told(short.read("words.txt"), &house);
    assert_eq!(message, "`words.txt` has 5 bytes, more than the limit of 4");
    assert_eq!(help, "split it, or keep only what the script needs");
}

#[test]
fn what_was_read_is_known_by_its_content() {
    let house = House::new();
    let files = house.files();
    files.read_text("words.txt").unwrap();
    files.read_text("words.txt").unwrap();
    assert!(files.read_text("absent.txt").is_err());
    put(&files, "own.txt", "own").unwrap();
    files.read_text("own.txt").unwrap();
    let reads = files.reads_after(0);
    let paths: Vec<_> = reads.iter().map(|read| read.path.as_str()).collect();
    assert_eq!(paths, ["words.txt", "absent.txt"], "each once, and nothing that it wrote itself");
    assert!(reads.iter().all(|read| files.reads_alike(read)));
    fs::write(house.at("desk/words.txt"), "sword").unwrap();
    fs::write(house.at("desk/absent.txt"), "").unwrap();
    assert!(!reads.iter().any(|read| files.reads_alike(read)));
    files.read_text("words.txt").unwrap();
    assert_eq!(files.reads_after(2).len(), 1, "another content is another reading");
}

#[test]
fn the_notes_of_a_run_are_its_own() {
    let house = House::new();
    let files = house.files();
    assert_eq!(files.record().unwrap(), None);
    files.begin_record(b"1\n").unwrap().write_all(b"2").unwrap();
    assert_eq!(files.record().unwrap().unwrap(), b"1\n2");
    let absolute = house.at("desk/out/demo/.resume.json").display().to_string();
    for path in [".resume.json", "./.resume.json", &absolute] {
        assert!(matches!(put(&files, path, ""), Err(FileError::Reserved { .. })), "{path}");
        assert!(files.stream(path, true).is_err());
    }
    assert_eq!(files.written(), [] as [PathBuf; 0]);
}

#[test]
fn writes_land_in_the_output_folder_which_appears_with_them() {
    let house = House::new();
    let files = house.files();
    assert_eq!(files.write_path("a/b.json").unwrap(), house.at("desk/out/demo/a/b.json"));
    assert!(!house.at("desk/out").exists());
    put(&files, "z.txt", "old").unwrap();
    put(&files, "z.txt", "new").unwrap();
    put(&files, "a/b.json", "{}").unwrap();
    assert_eq!(files.written(), [house.at("desk/out/demo/a/b.json"), house.at("desk/out/demo/z.txt")]);
    assert_eq!(files.read_text("z.txt").unwrap(), "new");
    let absolute = house.at("desk/out/demo/c.txt").display().to_string();
    put(&files, &absolute, "").unwrap();
}

#[test]
fn a_script_reads_back_its_own_file_first() {
    let house = House::new();
    let files = house.files();
    put(&files, "people.tsv", "own").unwrap();
    assert_eq!(files.read_text("people.tsv").unwrap(), "own");
    assert_eq!(house.files().read_text("people.tsv").unwrap(), "script", "an earlier run's file comes last");
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let house = House::new();
    let files = house.files();
    put(&files, "a.txt", "old").unwrap();
    let before = house.tree("desk");
    let failed = files.write("a.txt", |to| {
        to.write_all(&[b'x'; 100_000])?;
        Err(io::Error::other("no figures left"))
    });
    assert_eq!(told(failed, &house).0, "cannot write `a.txt`: no figures left");
    let fresh = files.write("b.txt", |_| Err(io::Error::other("no")));
    assert!(fresh.is_err());
    assert_eq!(house.tree("desk"), before);
    assert_eq!(files.written().len(), 1);
}

#[test]
fn writes_outside_are_refused_until_allowed() {
    let house = House::new();
    let target = house.at("secret/new.txt").display().to_string();
    assert_eq!(
        told(put(&house.files(), &target, ""), &house),
        (
            "may not write `/secret/new.txt`: it lies outside the output folder".into(),
            "allow it with `--allow-write /secret`, or write a path relative to the output folder".into()
        )
    );
    put(&house.files().with_write_root("../secret"), &target, "new").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    assert_eq!(
        told(put(&house.files(), "a/../b.txt", ""), &house),
        (
            "may not write `a/../b.txt`: `..` is not allowed in a path to write".into(),
            "paths are relative to `/desk/out/demo`; move it with `--out DIR`, or add a folder with \
             `--allow-write DIR` and write the absolute path"
                .into()
        )
    );
    assert!(put(&house.files(), house.at("desk/out/demo-2/x").to_str().unwrap(), "").is_err());
}

#[test]
fn a_folder_is_no_file_to_write() {
    let house = House::new();
    fs::create_dir_all(house.at("desk/out/demo/plots")).unwrap();
    for path in ["", ".", "plots", "new/"] {
        let (message, help) = told(put(&house.files(), path, ""), &house);
        assert_eq!(message, format!("`{path}` is not a regular file"));
        assert!(help.starts_with("name a file"), "{path}: {help}");
    }
    put(&house.files(), "file", "").unwrap();
    assert!(told(put(&house.files(), "file/x", ""), &house).0.starts_with("cannot write `file/x`: "));
}

#[test]
fn a_streamed_file_grows_as_it_is_written() {
    let house = House::new();
    let files = house.files();
    let mut log = files.stream("log.jsonl", false).unwrap();
    log.write_all(b"1\n").unwrap();
    assert_eq!(files.read_text("log.jsonl").unwrap(), "1\n");
    drop(files.stream("log.jsonl", true).unwrap());
    assert_eq!(files.read_text("log.jsonl").unwrap(), "1\n", "unless it is to go on");
    drop(files.stream("log.jsonl", false).unwrap());
    assert_eq!(files.read_text("log.jsonl").unwrap(), "", "a new run starts a new log");
    assert!(matches!(files.stream("../log.jsonl", true), Err(FileError::WriteParent { .. })));
}

#[test]
fn threads_may_write_at_once() {
    let house = House::new();
    let files = Arc::new(house.files());
    let workers: Vec<_> = (0..8)
        .map(|i| {
            let files = Arc::clone(&files);
            thread::spawn(move || put(&files, &format!("{}/same.txt", i % 2), &i.to_string()).unwrap())
        })
        .collect();
    workers.into_iter().for_each(|worker| drop(worker.join().unwrap()));
    assert_eq!(files.written().len(), 2);
    assert_eq!(house.tree("desk/out").len(), 2, "no temporary file is left");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn results_are_as_readable_as_any_file() {
        let house = House::new();
        fs::write(house.at("desk/plain"), "").unwrap();
        let written = put(&house.files(), "a.txt", "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&written), mode(&house.at("desk/plain")));
        assert_ne!(mode(&written) & 0o200, 0);
    }

    #[test]
    fn links_that_lead_out_are_refused() {
        let house = House::new();
        let files = house.files();
        put(&files, "first", "").unwrap();
        house.link("desk/key", "../secret/key");
        house.link("desk/inside", "words.txt");
        house.link("desk/out/demo/key", "../../../secret/key");
        house.link("desk/out/demo/dir", "../../../secret");
        house.link("desk/out/demo/gone", "../../../secret/gone");
        house.link("desk/out/demo/loop", "loop");
        assert!(matches!(files.read("key"), Err(FileError::ReadOutside { .. })));
        assert_eq!(files.read_text("inside").unwrap(), "words");
        for path in ["key", "dir/key", "dir/new", "dir/deep/new"] {
            assert!(matches!(put(&files, path, "mine"), Err(FileError::WriteOutside { .. })), "{path}");
            assert!(files.stream(path, true).is_err());
        }
        for path in ["gone", "loop"] {
            let (message, help) = told(put(&files, path, "mine"), &house);
            assert_eq!(message, format!("may not write `{path}`: a link in it leads nowhere"));
            assert_eq!(help, "remove the link, or write under another name");
            assert!(files.stream(path, true).is_err());
        }
        assert!(files.read("loop").is_err());
        assert_eq!(house.tree("secret"), [(house.at("secret/key"), "key".into())]);
    }

    #[test]
    fn an_output_folder_that_nobody_named_is_no_link_out() {
        let house = House::new();
        fs::create_dir_all(house.at("scratch/demo")).unwrap();
        for (link, to) in [("desk/out", "../scratch"), ("desk/out/demo", "../../scratch/demo")] {
            fs::create_dir_all(house.at(link).parent().unwrap()).unwrap();
            house.link(link, to);
            let files = house.files().confined(true);
            let (message, help) = told(put(&files, "a.txt", "a"), &house);
            assert_eq!(
                message,
                "the output folder `/desk/out/demo` leads to `/scratch/demo`, outside the working folder"
            );
            assert_eq!(help, "if that is meant, name it: `--out /scratch/demo`");
            assert!(files.stream("a.txt", false).is_err() && files.record().is_err());
            assert_eq!(house.tree("scratch"), []);
            fs::remove_file(house.at(link)).unwrap();
        }
        fs::create_dir_all(house.at("desk/results")).unwrap();
        fs::remove_dir(house.at("desk/out")).unwrap();
        house.link("desk/out", "results");
        put(&house.files().confined(true), "a.txt", "a").unwrap();
    }

    #[test]
    fn one_run_at_a_time_writes_to_a_folder() {
        let house = House::new();
        let (first, second) = (house.files(), house.files());
        put(&first, "a.txt", "a").unwrap();
        put(&first, "b/c.txt", "a").unwrap();
        for refused in [put(&second, "a.txt", "b").map(drop), second.stream("l", true).map(drop)] {
            let (message, help) = told(refused, &house);
            assert_eq!(message, "another run is writing to `/desk/out/demo`");
            assert!(help.contains("--out DIR"), "{help}");
        }
        assert_eq!(second.read_text("a.txt").unwrap(), "a");
        drop(first);
        put(&second, "a.txt", "b").unwrap();
        put(&Files::new(house.at("desk"), "out/other"), "a.txt", "").unwrap();
    }

    #[test]
    fn what_dead_runs_left_is_cleared() {
        let house = House::new();
        for dir in ["desk/out/demo", "desk/out/demo/acts", "secret"] {
            fs::create_dir_all(house.at(dir)).unwrap();
            fs::write(house.at(dir).join(".patchscript-abc.part"), "half").unwrap();
        }
        fs::write(house.at("desk/out/demo/.mine.part"), "mine").unwrap();
        let living = File::create(house.at("secret/.patchscript-def.part")).unwrap();
        living.try_lock().unwrap();
        let files = house.files().with_write_root("../secret");
        put(&files, "a.txt", "").unwrap();
        put(&files, "acts/a.txt", "").unwrap();
        put(&files, house.at("secret/a.txt").to_str().unwrap(), "").unwrap();
        let names = |dir: &str| -> Vec<_> {
            let names = house.tree(dir).into_iter().map(|(path, _)| path.file_name().unwrap().to_owned());
            names.map(|name| name.into_string().unwrap()).collect()
        };
        assert_eq!(names("desk/out"), [".mine.part", "a.txt", "a.txt"]);
        assert_eq!(names("secret"), [".patchscript-def.part", "a.txt", "key"]);
    }

    #[test]
    fn the_named_output_folder_may_itself_be_a_link() {
        let house = House::new();
        fs::create_dir(house.at("scratch")).unwrap();
        house.link("desk/out", "../scratch");
        let files = house.files();
        assert_eq!(put(&files, "a.txt", "a").unwrap(), house.at("scratch/demo/a.txt"));
        assert_eq!(files.read_text("a.txt").unwrap(), "a");
    }

    fn path() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "..",
            ".",
            "",
            "a",
            "b.txt",
            "desk",
            "scripts",
            "secret",
            "key",
            "out",
            "demo",
            "to_secret",
            "to_root",
            "to_desk",
            "gone",
        ]);
        (prop::sample::select(vec!["", "/", "ROOT/", "ROOT/desk/"]), prop::collection::vec(part, 0..7))
            .prop_map(|(start, parts)| format!("{start}{}", parts.join("/")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn no_path_leads_out(paths in prop::collection::vec(path(), 1..8)) {
            let house = House::new();
            let files = house.files();
            fs::create_dir_all(house.at("desk/out/demo/a")).unwrap();
            for dir in ["desk", "scripts", "desk/out/demo", "desk/out/demo/a"] {
                for (name, to) in [("to_secret", "secret"), ("to_root", ""), ("to_desk", "desk"), ("gone", "gone")] {
                    house.link(&format!("{dir}/{name}"), house.at(to).to_str().unwrap());
                }
            }
            let outside = ["secret", "scripts"].map(|dir| house.tree(dir));
            for path in paths {
                let path = path.replace("ROOT", house.at("").to_str().unwrap().trim_end_matches('/'));
                if let Ok(real) = files.read_path(&path) {
                    let real = real.canonicalize().unwrap();
                    prop_assert!(real.starts_with(house.at("desk")) || real.starts_with(house.at("scripts")));
                }
                if let Ok(real) = put(&files, &path, "mine") {
                    prop_assert!(real.canonicalize().unwrap().starts_with(house.at("desk/out/demo")));
                }
            }
            prop_assert_eq!(["secret", "scripts"].map(|dir| house.tree(dir)), outside);
            prop_assert!(!house.at("gone").exists());
            let entries = fs::read_dir(house.at("")).unwrap();
            let names: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            prop_assert_eq!(names, BTreeSet::from(["scripts", "secret", "desk"].map(Into::into)));
        }
    }
}
