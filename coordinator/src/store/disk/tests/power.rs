//! The power is lost between any two calls of the operating system, and in the middle of them.
//!
//! A recording medium notes all that is written, synced, and removed. From the beginning of these notes
//! up to any of them images of the disk are made: what was synced is there; of the rest any part is, in
//! pieces of a sector. From each image everything that was acknowledged must come back, whole.

use std::{collections::BTreeMap, io};

use redb::{backends::FileBackend, StorageBackend};

use super::{super::medium::Medium, *};

/// Sectors are written as a whole.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Call {
    /// The database.
    Resize(u64),
    Write(u64, Vec<u8>),
    Sync,
    /// Files, by their names in the data directory.
    Create(String),
    Fill(String, Vec<u8>),
    SyncFile(String),
    Remove(String),
    Rename(String, String),
    SyncDir(String),
    /// No call: the first so many records are acknowledged.
    Acknowledged(usize),
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// A real directory, and what was done to it. Syncs only claim to.
#[derive(Debug)]
struct Recorder {
    dir: std::path::PathBuf,
    calls: Calls,
}

impl Recorder {
    fn on(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), calls: Calls::default() }
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn name(&self, path: &Path) -> String {
        let name = path.strip_prefix(&self.dir).unwrap().to_str().unwrap();
        if name == "." {
            String::new()
        } else {
            name.to_owned()
        }
    }
}

impl Medium for Recorder {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        if !path.exists() {
            self.note(Call::Create(self.name(path)));
            put(path, b"");
        }
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        let file = FileBackend::new(file).unwrap();
        Ok(Box::new(RecordedFile { file, calls: Arc::clone(&self.calls) }))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        put(path, bytes);
        let name = self.name(path);
        self.note(Call::Create(name.clone()));
        self.note(Call::Fill(name.clone(), bytes.to_vec()));
        self.note(Call::SyncFile(name));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.note(Call::SyncDir(self.name(path)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        self.note(Call::Remove(self.name(path)));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        self.note(Call::Rename(self.name(from), self.name(to)));
        Ok(())
    }
}

#[derive(Debug)]
struct RecordedFile {
    file: FileBackend,
    calls: Calls,
}

impl StorageBackend for RecordedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.calls.lock().unwrap().push(Call::Resize(len));
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.calls.lock().unwrap().push(Call::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.calls.lock().unwrap().push(Call::Write(offset, data.to_vec()));
        self.file.write(offset, data)
    }
}

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }
}

/// What may become of what was not synced.
#[derive(Clone, Copy, Debug)]
enum Loss {
    All,
    Nothing,
    /// Each call by itself, as a whole.
    Some,
    /// Each sector by itself.
    Torn,
    /// All but the latest calls.
    Latest,
    /// Only the latest calls are kept.
    AllButLatest,
}

const LOSSES: [Loss; 6] =
    [Loss::All, Loss::Nothing, Loss::Some, Loss::Torn, Loss::Latest, Loss::AllButLatest];

/// A file's content that is safe, and what was done to it since.
#[derive(Clone, Default)]
struct Content {
    safe: Vec<u8>,
    pending: Vec<Call>,
}

impl Content {
    fn sync(&mut self) {
        for call in std::mem::take(&mut self.pending) {
            apply(&mut self.safe, &call);
        }
    }

    fn after(&self, loss: Loss, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        let last = dice.below(self.pending.len() + 1);
        for (index, call) in self.pending.iter().enumerate() {
            let kept = match loss {
                Loss::All => false,
                Loss::Nothing | Loss::Torn => true,
                Loss::Some => dice.below(2) == 0,
                Loss::Latest => index < last,
                Loss::AllButLatest => index >= last,
            };
            match (call, loss) {
                (Call::Write(offset, data), Loss::Torn) => {
                    let sectors = data.chunks(SECTOR).enumerate();
                    for (number, sector) in sectors.filter(|_| dice.below(2) == 0) {
                        let at = offset + (number * SECTOR) as u64;
                        apply(&mut bytes, &Call::Write(at, sector.to_vec()));
                    }
                }
                (Call::Fill(name, data), Loss::Torn) => {
                    let part = data[..dice.below(data.len() + 1)].to_vec();
                    apply(&mut bytes, &Call::Fill(name.clone(), part));
                }
                _ if kept => apply(&mut bytes, call),
                _ => {}
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Resize(length) => bytes.resize(*length as usize, 0),
        Call::Write(offset, data) => {
            let (from, to) = (*offset as usize, *offset as usize + data.len());
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(data);
        }
        Call::Create(_) => bytes.clear(),
        Call::Fill(_, data) => bytes.clone_from(data),
        other => panic!("{other:?}"),
    }
}

/// A disk, as far as it is sure what is on it.
#[derive(Clone, Default)]
struct Platter {
    contents: BTreeMap<String, Content>,
    /// Names that are sure to be there, and of which content.
    safe: BTreeMap<String, String>,
    /// Names that were made, removed or changed since their directory was synced.
    pending: Vec<Call>,
    acknowledged: usize,
}

impl Platter {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Resize(_) | Call::Write(..) => self.content(DATABASE).pending.push(call.clone()),
            Call::Sync => self.content(DATABASE).sync(),
            Call::Create(name) => {
                self.content(content_of(name)).pending.push(call.clone());
                self.pending.push(call.clone());
            }
            Call::Fill(name, _) => self.content(name).pending.push(call.clone()),
            Call::SyncFile(name) => self.content(name).sync(),
            Call::Remove(_) | Call::Rename(..) => self.pending.push(call.clone()),
            Call::SyncDir(dir) => {
                let in_dir = |call: &Call| match call {
                    Call::Create(name) | Call::Remove(name) | Call::Rename(name, _) => {
                        name.rsplit_once('/').map_or("", |(dir, _)| dir) == dir
                    }
                    other => panic!("{other:?}"),
                };
                let (synced, pending): (Vec<_>, _) =
                    std::mem::take(&mut self.pending).into_iter().partition(in_dir);
                self.pending = pending;
                synced.iter().for_each(|call| enter(&mut self.safe, call));
            }
            Call::Acknowledged(count) => self.acknowledged = *count,
        }
    }

    fn content(&mut self, name: &str) -> &mut Content {
        self.contents.entry(name.to_owned()).or_default()
    }

    /// Puts into a directory what is left after a power loss; gives that as one that is safe.
    fn lose(&self, loss: Loss, dice: &mut Dice, dir: &Path) -> Self {
        let mut names = self.safe.clone();
        let last = dice.below(self.pending.len() + 1);
        for (index, entry) in self.pending.iter().enumerate() {
            let kept = match loss {
                Loss::All => false,
                Loss::Nothing => true,
                Loss::Some | Loss::Torn => dice.below(2) == 0,
                Loss::Latest => index < last,
                Loss::AllButLatest => index >= last,
            };
            if kept {
                enter(&mut names, entry);
            }
        }
        let mut left = Self { acknowledged: self.acknowledged, ..Self::default() };
        for sub in ["", "models", "round"] {
            make_private(&dir.join(sub));
        }
        for (name, content) in names {
            let safe = self.contents[&content].after(loss, dice);
            put(&dir.join(&name), &safe);
            left.contents.insert(content.clone(), Content { safe, pending: Vec::new() });
            left.safe.insert(name, content);
        }
        left
    }
}

fn enter(names: &mut BTreeMap<String, String>, call: &Call) {
    match call {
        Call::Create(name) => {
            names.insert(name.clone(), content_of(name).to_owned());
        }
        Call::Remove(name) => {
            names.remove(name);
        }
        Call::Rename(from, to) => {
            let content = names.remove(from).unwrap_or_else(|| content_of(from).to_owned());
            names.insert(to.clone(), content);
        }
        other => panic!("{other:?}"),
    }
}

/// The database keeps its content whatever it is called; no other file changes its name.
fn content_of(name: &str) -> &str {
    match name.starts_with(DATABASE) {
        true => DATABASE,
        false => name,
    }
}

fn make_private(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

fn open_on(
    dir: &Path,
    secret: Option<&[u8]>,
    medium: Arc<Recorder>,
) -> Result<(Open, Restored), StoreError> {
    let mut store = DiskStore::open_on(dir, secret, 2, Owner::Us, medium)?;
    let restored = store.restore(RootSeed::new(ROOT))?;
    let (confirmations, confirmed) = Confirmations::channel();
    Ok((Open { store, confirmations, confirmed, last: 0 }, restored))
}

/// A round, and what each beginning of it leads to.
struct Story {
    records: Vec<Record>,
    states: Vec<Option<Vec<u8>>>,
    files: Vec<BTreeSet<String>>,
    secret: Option<&'static [u8]>,
}

impl Story {
    fn new(length: u64, secret: Option<&'static [u8]>) -> Self {
        let records = round(length);
        let dir = private_dir();
        let (mut store, _) = open_on(dir.path(), secret, Recorder::on(dir.path()).into()).unwrap();
        let mut recovery = Recovery::new(RootSeed::new(ROOT));
        let (mut states, mut files) = (vec![bytes(recovery.clone())], vec![names(&dir)]);
        for record in &records {
            recovery.apply(record.clone()).unwrap();
            store.persist(record.clone());
            store.wait().unwrap();
            states.push(bytes(recovery.clone()));
            files.push(names(&dir));
        }
        Self { records, states, files, secret }
    }

    /// All calls of a store that gets the records, some of them together.
    fn tell(&self, dice: &mut Dice) -> Vec<Call> {
        let dir = private_dir();
        let recorder = Arc::new(Recorder::on(dir.path()));
        let (mut store, _) = open_on(dir.path(), self.secret, Arc::clone(&recorder)).unwrap();
        let mut told = 0;
        while told < self.records.len() {
            let count = (1 + dice.below(3)).min(self.records.len() - told);
            self.records[told..told + count]
                .iter()
                .for_each(|record| store.persist(record.clone()));
            store.wait().unwrap();
            told += count;
            recorder.note(Call::Acknowledged(told));
        }
        drop(store);
        let calls = recorder.calls.lock().unwrap().clone();
        calls
    }

    /// Opens what is left; gives the calls that this took, and how far the story goes.
    fn check(&self, dir: &TempDir, acknowledged: usize, what: &str) -> (Vec<Call>, usize) {
        let recorder = Arc::new(Recorder::on(dir.path()));
        let (store, restored) = open_on(dir.path(), self.secret, Arc::clone(&recorder))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let state = bytes(restored.recovery);
        let reached = (acknowledged..self.states.len()).find(|count| self.states[*count] == state);
        let reached = reached.unwrap_or_else(|| panic!("{what}: {acknowledged} are acknowledged"));
        for round_id in store.store.models().rounds() {
            assert!(store.store.models().load(round_id).unwrap().is_some(), "{what}");
        }
        let has_model = self.records[..reached].iter().any(|r| matches!(r, Record::Model(_)));
        assert_eq!(!store.store.models().rounds().is_empty(), has_model, "{what}");
        assert_eq!(names(dir), self.files[reached], "{what}: files");
        let calls = recorder.calls.lock().unwrap().clone();
        (calls, reached)
    }

    /// The rest of the story, told to what was left.
    fn go_on(&self, dir: &TempDir, reached: usize, what: &str) {
        let (mut store, _) =
            open_on(dir.path(), self.secret, Recorder::on(dir.path()).into()).unwrap();
        if reached < self.records.len() {
            self.records[reached..].iter().for_each(|record| store.persist(record.clone()));
            store.wait().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        drop(store);
        let (_, end) = self.check(dir, self.records.len(), what);
        assert_eq!(end, self.records.len(), "{what}");
    }
}

/// With small parts, which are in the database, and with large ones, which are files.
#[test]
fn after_a_power_loss_all_that_was_acknowledged_is_there_and_nothing_by_halves() {
    let seed = std::env::var("POWER_SEED").map_or(1, |seed| seed.parse().unwrap());
    let (mut images, mut twice) = (0, 0);
    for (length, secret) in [(10, None), (LONG, None)] {
        let story = Story::new(length, secret);
        let mut dice = Dice(seed);
        let calls = story.tell(&mut dice);
        let mut platter = Platter::default();
        for (number, call) in calls.iter().enumerate() {
            platter.call(call);
            // Each way at every sixth call, another one at each.
            let losses = [LOSSES[number % LOSSES.len()], LOSSES[dice.below(LOSSES.len())]];
            for loss in losses {
                let what = format!("POWER_SEED={seed} length {length}, call {number} {loss:?}");
                let dir = in_memory();
                let left = platter.lose(loss, &mut dice, dir.path());
                let (recovering, reached) = story.check(&dir, platter.acknowledged, &what);
                images += 1;
                if images % 16 == 0 {
                    story.go_on(&dir, reached, &what);
                }
                if images % 48 != 0 {
                    continue;
                }
                // It is lost again while what is left is opened.
                let mut platter = left;
                for (again, call) in recovering.iter().enumerate() {
                    platter.call(call);
                    let what = format!("{what}, again at {again} {call:.20?}");
                    let dir = in_memory();
                    platter.lose(LOSSES[dice.below(LOSSES.len())], &mut dice, dir.path());
                    story.check(&dir, platter.acknowledged, &what);
                    twice += 1;
                }
            }
        }
    }
    assert!(images > 500 && twice > 100, "{images} {twice}");
}

/// A directory where files cost little.
fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let permissions = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(permissions).tempdir_in(place).unwrap()
}
