//! Directories in which something is missing, foreign, or for others to read.

use super::*;

/// A directory with a database, models and parts of a round.
fn filled() -> TempDir {
    let dir = private_dir();
    let (mut store, _) = open(&dir, None).unwrap();
    let records = round(LONG);
    let model = Record::Model(GlobalModel {
        round_id: 1,
        seed: parameters(&records[0]).seed,
        models: 4,
        rationals: vec![3; 100].into(),
        weights: None,
        optimizer: None,
    });
    // Its model, and the parts of a round that goes on.
    records[..18].iter().for_each(|record| store.persist(record.clone()));
    store.wait().unwrap();
    let file = dir.path().join(format!("models/{}", model_id(&model)));
    put(&file, b"a model of an earlier round");
    drop(store);
    dir
}

fn model_id(record: &Record) -> String {
    match record {
        Record::Model(model) => model.id(),
        other => panic!("{other:?}"),
    }
}

/// An initial model that was not made safe is none, and leaves nothing behind; the next attempt is as good as the first.
#[test]
fn an_initial_model_that_was_cut_off_is_swept() {
    let dir = private_dir();
    let model = pet_core::model::Model::F32(vec![0.5; LONG as usize]);
    let model = GlobalModel::initial(model).unwrap();
    let name = format!("models/{}", model.id());
    let mut store = DiskStore::open(dir.path(), None, 3).unwrap();
    store.restore(RootSeed::new(ROOT)).unwrap();
    store.database.as_mut().unwrap().announce(&name).unwrap();
    put(&dir.path().join(&name), &model.to_bytes()[..100]);
    drop(store);
    for left in [false, true] {
        let mut store = DiskStore::open(dir.path(), None, 3).unwrap();
        store.restore(RootSeed::new(ROOT)).unwrap();
        assert_eq!(dir.path().join(&name).exists(), left);
        assert_eq!(store.models().rounds(), [0][usize::from(!left)..]);
        if !left {
            store.begin_with(&model).unwrap();
        }
        assert!(store.models().load(0).unwrap() == Some(model.clone()));
    }
}

/// A database that is gone takes nothing with it.
#[test]
fn nothing_is_swept_without_the_database() {
    let put_database = |dir: &TempDir, bytes: Option<&[u8]>| {
        let path = dir.path().join(DATABASE);
        match bytes {
            Some(bytes) => put(&path, bytes),
            None => fs::remove_file(&path).unwrap(),
        }
    };
    let fresh = private_dir();
    drop(open(&fresh, None).unwrap());
    let other = fs::read(fresh.path().join(DATABASE)).unwrap();
    let empty = redb::Database::create(fresh.path().join("empty")).unwrap();
    drop(empty);
    let empty = fs::read(fresh.path().join("empty")).unwrap();
    for (what, bytes) in [
        ("missing", None),
        ("empty", Some(&b""[..])),
        ("without anything in it", Some(&empty)),
        ("cut off", Some(&other[..other.len() / 2])),
        ("cut off early", Some(&other[..100])),
        ("something else", Some(b"something else")),
    ] {
        let dir = filled();
        let before = paths(&dir);
        assert_eq!(before.len(), 3, "{before:?}");
        put_database(&dir, bytes);
        for _ in 0..2 {
            let error = open(&dir, None).err().unwrap_or_else(|| panic!("{what}")).to_string();
            assert!(error.contains(DATABASE) && error.contains("backup"), "{what}: {error}");
            if !["cut off", "cut off early", "something else"].contains(&what) {
                assert!(error.contains("3 files") && error.contains("models/1_"), "{error}");
            }
            assert_eq!(paths(&dir), before, "{what}");
        }
        // What the message advises helps.
        let aside = private_dir();
        for name in ["models", "round"] {
            fs::rename(dir.path().join(name), aside.path().join(name)).unwrap();
        }
        let _ = fs::remove_file(dir.path().join(DATABASE));
        open(&dir, None).unwrap();
    }
}

/// A database of another coordinator, or an older copy: the files beside it are somebody's.
#[test]
fn the_files_of_another_store_stay() {
    let dir = filled();
    let before = paths(&dir);
    let other = private_dir();
    let other_root = RootSeed::new([8; 32]);
    let mut store = DiskStore::open(other.path(), None, 2).unwrap();
    store.restore(other_root).unwrap();
    drop(store);
    put(&dir.path().join(DATABASE), &fs::read(other.path().join(DATABASE)).unwrap());
    put(&dir.path().join("models/notes.txt"), b"mine");
    open(&dir, None).unwrap();
    let after = paths(&dir);
    assert!(after.is_superset(&before) && after.contains("models/notes.txt"), "{after:?}");
}

/// What is left of writes and removals that were cut off is this store's own.
#[test]
fn own_leftovers_go() {
    let dir = filled();
    let before = paths(&dir);
    let tag = before.iter().find_map(|name| name.strip_prefix("models/")).unwrap().to_owned();
    for name in [format!("round/mask-99-{tag}"), format!("round/aggregate-7-{tag}")] {
        put(&dir.path().join(name), b"half writt");
    }
    open(&dir, None).unwrap();
    // The model was never committed, and is of this very round.
    let expected = before.into_iter().filter(|name| !name.starts_with("models/")).collect();
    assert_eq!(paths(&dir), expected);
}

#[test]
fn what_others_may_read_is_refused_with_the_command_that_mends_it() {
    for (name, lax) in [
        ("", 0o755),
        ("", 0o770),
        ("models", 0o750),
        (DATABASE, 0o644),
        (DATABASE, 0o620),
        ("round", 0o707),
        ("first in round", 0o640),
    ] {
        let dir = filled();
        let part = paths(&dir).into_iter().find(|name| name.starts_with("round/")).unwrap();
        let name = if name == "first in round" { &part } else { name };
        let path = dir.path().join(name);
        let permissions = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(lax)).unwrap();
        let error = open(&dir, None).err().unwrap_or_else(|| panic!("{name} {lax:o}"));
        assert!(matches!(error, StoreError::Open { .. }), "{error}");
        let error = error.to_string();
        let command = error.split('`').nth(1).unwrap();
        let mode = permissions.mode() & 0o777;
        assert!(command.starts_with(&format!("chmod {mode:o} ")), "{error}");
        let ran = std::process::Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(ran.success(), "{error}");
        open(&dir, None).unwrap();
    }
}

/// Whatever was there before, and whatever the umask: no file of ours is anybody else's.
#[test]
fn every_file_is_made_for_its_owner_alone() {
    fn modes(dir: &Path, found: &mut Vec<(String, u32)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let data = entry.metadata().unwrap();
            found.push((entry.path().display().to_string(), data.permissions().mode() & 0o777));
            if data.is_dir() {
                modes(&entry.path(), found);
            }
        }
    }
    let parent = private_dir();
    let dir = parent.path().join("deep/data");
    let mut store = DiskStore::open(&dir, None, 2).unwrap();
    store.restore(RootSeed::new(ROOT)).unwrap();
    drop(store);
    let mut found = Vec::new();
    modes(parent.path(), &mut found);
    modes(filled().path(), &mut found);
    assert!(found.len() > 8, "{found:?}");
    for (path, mode) in found {
        assert!([0o700, 0o600].contains(&mode), "{path}: {mode:o}");
    }
}
