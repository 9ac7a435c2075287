use std::hash::Hash;

use super::*;

fn cache(limit: u64) -> (Cache, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { folder: folder.path().join("results"), limit, least: Duration::ZERO };
    (Cache::new(place), folder)
}

fn key(n: u64) -> Key {
    let mut key = Key::new("test");
    n.hash(&mut key);
    key
}

fn random(len: usize, seed: u64) -> Vec<u8> {
    use rand::{RngCore, SeedableRng};
    let mut bytes = vec![0; len];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

#[test]
fn what_is_kept_is_found_again_and_nothing_else() {
    let (cache, _folder) = cache(1 << 20);
    assert_eq!(cache.get(&key(1)), None);
    for len in [0, 1, 5000] {
        cache.put(&key(len), &random(len as usize, len)).unwrap();
    }
    for len in [0, 1, 5000] {
        assert_eq!(cache.get(&key(len)), Some(random(len as usize, len)));
    }
    assert_eq!(cache.get(&key(2)), None);
    assert_eq!(cache.counts(), (3, 3));
    assert_eq!(list(&cache.place.folder).unwrap().len(), 3);
    assert_eq!(clear(&cache.place.folder).unwrap(), (3, 5001 + 3 * HEAD as u64));
    assert_eq!(cache.get(&key(1)), None);
}

#[test]
fn what_is_soon_computed_is_not_kept() {
    let (all, _folder) = cache(1 << 30);
    let slow = Cache::new(Place { least: LEAST, ..all.place().clone() });
    let ms = Duration::from_millis;
    for (bytes, took, kept) in
        [(1000, 9, false), (1000, 10, true), (100 << 20, 10, false), (100 << 20, 500, true)]
    {
        assert_eq!(slow.wants(bytes, ms(took)), kept, "{bytes} {took}");
        assert!(all.wants(bytes, ms(took)));
    }
    assert!(!slow.wants(200 << 20, ms(5000)) && !all.wants(200 << 20, ms(5000)), "an eighth of all at most");
    let (small, _folder) = cache(8000);
    for n in 0..4 {
        assert!(small.wants(900, ms(1)), "{n}");
        small.put(&key(n), &random(900, n)).unwrap();
    }
    assert!(!small.wants(900, ms(1)) && small.wants(300, ms(1)), "half of all by one run");
}

#[test]
fn names_hold_all_that_was_taken_in() {
    let name = |parts: &[&str]| {
        let mut key = Key::new("test");
        parts.iter().for_each(|part| part.hash(&mut key));
        key.name()
    };
    let names = [&["a", "b"][..], &["ab"], &["b", "a"], &["a"], &[]].map(name);
    assert!((0..5).all(|i| !names[..i].contains(&names[i])), "{names:?}");
    assert_eq!(name(&["a"]), name(&["a"]));
    assert!(names[0].starts_with("test-") && names[0].len() == 5 + 32);
    assert_ne!(names[0][5..21], names[0][21..]);
}

#[test]
fn a_damaged_entry_is_none_and_goes() {
    let (cache, _folder) = cache(1 << 20);
    let whole = random(300, 7);
    let path = cache.place.folder.join(key(7).name());
    for damage in [0, 5, HEAD - 1, HEAD, 100, 299 + HEAD] {
        cache.put(&key(7), &whole).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[damage] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(cache.get(&key(7)), None, "{damage}");
        assert!(!path.exists());
        cache.put(&key(7), &whole).unwrap();
        bytes.truncate(damage);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(cache.get(&key(7)), None, "cut at {damage}");
    }
    cache.put(&key(7), &whole).unwrap();
    assert_eq!(cache.get(&key(7)), Some(whole));
}

#[test]
fn entries_that_were_not_used_for_longest_make_room() {
    let (cache, _folder) = cache(8000);
    let used = |n: u64, seconds: u64| {
        let file = File::options().append(true).open(cache.place.folder.join(key(n).name())).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    for n in 0..8 {
        cache.put(&key(n), &random(950, n)).unwrap();
        used(n, 1000 - n);
    }
    assert!(cache.get(&key(0)).is_some());
    cache.put(&key(8), &random(950, 8)).unwrap();
    let there: Vec<_> = (0..9).filter(|n| cache.get(&key(*n)).is_some()).collect();
    assert_eq!(there, [0, 3, 4, 5, 6, 7, 8]);
    let bytes: u64 = list(&cache.place.folder).unwrap().iter().map(|entry| entry.bytes).sum();
    assert!(bytes <= 7000, "{bytes}");
    // One that would take an eighth of all.
    cache.put(&key(9), &random(1000, 9)).unwrap();
    assert_eq!(cache.get(&key(9)), None);
    // Files of others stay.
    fs::write(cache.place.folder.join("notes.txt"), random(9000, 1)).unwrap();
    assert_eq!(clear(&cache.place.folder).unwrap().0, 7);
    assert!(cache.place.folder.join("notes.txt").exists());
}

#[test]
fn two_at_once_never_read_half_of_an_entry() {
    let (first, _folder) = cache(1 << 20);
    let second = Cache::new(first.place().clone());
    std::thread::scope(|threads| {
        for cache in [&first, &second] {
            threads.spawn(move || {
                for round in 0..200 {
                    cache.put(&key(round % 3), &random(20_000, round % 3)).unwrap();
                }
            });
            threads.spawn(move || {
                for round in 0..200 {
                    let found = cache.get(&key(round % 3));
                    assert!(found.is_none_or(|found| found == random(20_000, round % 3)));
                }
            });
        }
    });
    assert_eq!(list(&first.place.folder).unwrap().len(), 3);
}

#[test]
fn a_sum_is_that_of_the_file_as_it_is_now() {
    let (cache, folder) = cache(1 << 20);
    let path = folder.path().join("weights");
    fs::write(&path, random(100, 1)).unwrap();
    // It may change again within the same moment of the file system's clock.
    assert_eq!(cache.file_sum(&path).unwrap(), plain::sum(&random(100, 1)));
    let kept = || list(&cache.place.folder).unwrap().len();
    assert_eq!(kept(), 0);
    let began = SystemTime::now();
    assert_eq!(cache.file_sum_at(&path, began), None, "changed a moment ago");
    std::thread::sleep(Duration::from_millis(60));
    let began = SystemTime::now();
    for _ in 0..2 {
        assert_eq!(cache.file_sum(&path).unwrap(), plain::sum(&random(100, 1)));
        assert_eq!((kept(), cache.counts()), (1, (0, 0)));
    }
    assert_eq!(cache.file_sum_at(&path, began), Some(plain::sum(&random(100, 1))));
    let modified = path.metadata().unwrap().modified().unwrap();
    fs::write(&path, random(100, 2)).unwrap();
    File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_eq!(
        cache.file_sum(&path).unwrap(),
        plain::sum(&random(100, 2)),
        "another of the same size and date"
    );
    assert_eq!(cache.file_sum_at(&path, began), None, "changed since");
    assert!(cache.file_sum(&folder.path().join("none")).is_err());
}
