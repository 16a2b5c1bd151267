//! Sealed stores: of the first version, of a later one, and with rows that somebody has moved.

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::{
    super::{
        database::{FILES, LOG, META, PARTS},
        vault::{Header, Place, Vault},
    },
    *,
};

/// Stores records, sealed.
fn sealed(count: usize, length: u64) -> TempDir {
    let dir = private_dir();
    let (mut store, _) = open(&dir, Some(SECRET)).unwrap();
    round(length)[..count].iter().for_each(|record| store.persist(record.clone()));
    store.wait().unwrap();
    dir
}

type Rows = TableDefinition<'static, u64, &'static [u8]>;

/// A table of sealed rows, and the places that they are at.
type Sealed = (Rows, fn(u64) -> Place);

/// Opens the database by itself, as soon as it can be (see [`open_soon`]).
fn database(dir: &TempDir) -> redb::Database {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match redb::Database::open(dir.path().join(DATABASE)) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Changes a store behind its back.
fn change(dir: &TempDir, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = database(dir);
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

fn rows(dir: &TempDir, table: Rows) -> Vec<(u64, Vec<u8>)> {
    let database = database(dir);
    let table = database.begin_read().unwrap().open_table(table).unwrap();
    let rows = table.iter().unwrap().map(Result::unwrap);
    rows.map(|(number, bytes)| (number.value(), bytes.value().to_vec())).collect()
}

/// Makes of a store one as the first version has written it.
fn first_version(dir: &TempDir) {
    change(dir, |transaction| {
        let mut vault = Vault::new(Some(SECRET)).unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        let header = meta.remove("sealing").unwrap().map(|header| header.value().to_vec());
        vault.unlock(&Header::from_bytes(&header.unwrap()).unwrap()).unwrap();
        let first = |place, bytes: &[u8]| vault.close_first(&vault.open(place, bytes).unwrap());
        let root = meta.get("root").unwrap().unwrap().value().to_vec();
        meta.insert("root", &first(Place::Root, &root)[..]).unwrap();
        meta.insert("version", &1u64.to_le_bytes()[..]).unwrap();
        let places: [Sealed; 2] = [(LOG, Place::Record), (PARTS, Place::Part)];
        for (table, place) in places {
            let mut table = transaction.open_table(table).unwrap();
            let rows: Vec<_> = table
                .iter()
                .unwrap()
                .map(Result::unwrap)
                .map(|(number, bytes)| (number.value(), bytes.value().to_vec()))
                .collect();
            for (number, bytes) in rows {
                table.insert(number, &first(place(number), &bytes)[..]).unwrap();
            }
        }
        let mut files = transaction.open_table(FILES).unwrap();
        let rows: Vec<_> = files
            .iter()
            .unwrap()
            .map(Result::unwrap)
            .map(|(number, row)| (number.value(), row.value().0.to_owned()))
            .filter(|(_, name)| name.starts_with("round/"))
            .collect();
        for (number, name) in rows {
            let path = dir.path().join(&name);
            let bytes = first(Place::Part(number), &fs::read(&path).unwrap());
            let old = name.rsplit_once('-').unwrap().0;
            put(&dir.path().join(old), &bytes);
            fs::remove_file(&path).unwrap();
            let digest = *Blake2b::hash(&[&bytes]).as_bytes();
            files.insert(number, (old, bytes.len() as u64, &digest[..])).unwrap();
        }
    });
}

#[test]
fn a_sealed_store_of_the_first_version_is_read_and_sealed_anew() {
    for (count, length) in [(1, 10), (18, 10), (18, LONG)] {
        let dir = sealed(count, length);
        let expected = bytes(open(&dir, Some(SECRET)).unwrap().1.recovery);
        first_version(&dir);
        let before = paths(&dir);
        let error = |secret| open(&dir, secret).err().unwrap();
        assert!(matches!(error(None), StoreError::NeedsSecret { .. }));
        let wrong: &[u8] = b"another secret of 16";
        assert!(matches!(error(Some(wrong)), StoreError::WrongSecret { .. }));
        assert_eq!(paths(&dir), before, "nothing is changed without the secret");
        let (mut store, restored) = open(&dir, Some(SECRET)).unwrap();
        assert_eq!(bytes(restored.recovery), expected, "{count} {length}");
        if count == 18 {
            // It goes on, over its own files as well.
            round(length)[18..].iter().for_each(|record| store.persist(record.clone()));
            store.wait().unwrap();
        }
        drop(store);
        let (_, restored) = open(&dir, Some(SECRET)).unwrap();
        assert_eq!(restored.recovery.round_id(), Some(if count == 18 { 2 } else { 1 }));
        // Nothing of the first version's is left.
        for (_, bytes) in rows(&dir, LOG).into_iter().chain(rows(&dir, PARTS)) {
            assert_eq!(bytes[0], 2);
        }
        assert!(paths(&dir).is_disjoint(&before) || before.is_empty(), "{before:?}");
        // It is of a later one from now on.
        assert!(matches!(error(Some(wrong)), StoreError::WrongSecret { .. }));
    }
}

/// Makes of a store one as the second version has written it.
fn second_version(dir: &TempDir) {
    change(dir, |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("version", &2u64.to_le_bytes()[..]).unwrap();
        let mut files = transaction.open_table(FILES).unwrap();
        let rows: Vec<_> = files
            .iter()
            .unwrap()
            .map(Result::unwrap)
            .map(|(number, row)| (number.value(), row.value().0.to_owned()))
            .collect();
        for (number, name) in rows {
            let bytes = fs::read(dir.path().join(&name)).unwrap();
            let digest = *Blake2b::hash(&[&bytes]).as_bytes();
            files.insert(number, (&*name, bytes.len() as u64, &digest[..])).unwrap();
        }
    });
}

/// A program that knows the second version alone says so of what this one has written, and not that it is damaged.
#[test]
fn a_store_of_the_second_version_is_read_and_brought_up() {
    let version = |dir: &TempDir| {
        let database = database(dir);
        let meta = database.begin_read().unwrap().open_table(META).unwrap();
        let version = meta.get("version").unwrap().unwrap().value().to_vec();
        u64::from_le_bytes(version.try_into().unwrap())
    };
    let dir = sealed(18, LONG);
    let expected = bytes(open(&dir, Some(SECRET)).unwrap().1.recovery);
    let before = paths(&dir);
    assert!(!before.is_empty(), "what is large is in files");
    second_version(&dir);
    let wrong: &[u8] = b"another secret of 16";
    assert!(matches!(open(&dir, Some(wrong)), Err(StoreError::WrongSecret { .. })));
    assert_eq!(version(&dir), 2, "nothing is changed without the secret");
    let (mut store, restored) = open(&dir, Some(SECRET)).unwrap();
    assert_eq!(bytes(restored.recovery), expected);
    assert_eq!(paths(&dir), before);
    round(LONG)[18..].iter().for_each(|record| store.persist(record.clone()));
    store.wait().unwrap();
    drop(store);
    assert_eq!(version(&dir), 3);
    assert_eq!(open(&dir, Some(SECRET)).unwrap().1.recovery.round_id(), Some(2));
}

#[test]
fn a_store_of_a_later_version_is_refused_by_name() {
    let dir = sealed(3, 10);
    change(&dir, |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("version", &77u64.to_le_bytes()[..]).unwrap();
    });
    let error = open(&dir, Some(SECRET)).err().unwrap();
    assert!(matches!(error, StoreError::Version { found: 77, .. }), "{error}");
    assert!(error.to_string().contains("version 77"), "{error}");
}

/// Whoever can write to the disk, but has not the secret, cannot even put rows into another order.
#[test]
fn sealed_rows_open_only_where_they_were_written() {
    let expect = |dir: &TempDir, what: &str| {
        let error = open(dir, Some(SECRET)).err().unwrap_or_else(|| panic!("{what}")).to_string();
        assert!(error.contains("does not open") || error.contains("secret"), "{what}: {error}");
    };
    let swapped = |table: Rows, what| {
        let dir = sealed(19, 10);
        let rows = rows(&dir, table);
        let (one, two) = (&rows[rows.len() - 2], &rows[rows.len() - 1]);
        assert_ne!(one.1, two.1);
        change(&dir, |transaction| {
            let mut table = transaction.open_table(table).unwrap();
            table.insert(one.0, &two.1[..]).unwrap();
            table.insert(two.0, &one.1[..]).unwrap();
        });
        expect(&dir, what);
    };
    swapped(LOG, "records");
    swapped(PARTS, "parts");
    // Those of another store with the same secret, record by record the same.
    let (dir, other) = (sealed(3, 10), sealed(3, 10));
    let rows = rows(&other, LOG);
    change(&dir, |transaction| {
        let mut table = transaction.open_table(LOG).unwrap();
        table.insert(rows[1].0, &rows[1].1[..]).unwrap();
    });
    expect(&dir, "another store's");
    // How the secret is stretched is not for others to choose: salt, passes, memory, the store's number.
    for at in [0, 15, 16, 20, 25, 28, 32, 47] {
        let dir = sealed(1, 10);
        change(&dir, |transaction| {
            let mut meta = transaction.open_table(META).unwrap();
            let mut header = meta.get("sealing").unwrap().unwrap().value().to_vec();
            header[at] ^= 0x10;
            meta.insert("sealing", &header[..]).unwrap();
        });
        let error = open(&dir, Some(SECRET)).err().unwrap_or_else(|| panic!("{at}"));
        let told = matches!(error, StoreError::WrongSecret { .. } | StoreError::Key(_));
        assert!(told, "{at}: {error}");
    }
}
