//! A disk that remembers what was asked of it, can fail at it, and can be put into any state that a power cut may leave.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::super::files::{Disk, Out, RealDisk};

/// A part of a file that reaches the disk as a whole or not at all.
const SECTOR: usize = 512;

/// What was asked of the disk, in order.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A new file, by its number.
    Create(PathBuf, usize),
    Append(usize, Vec<u8>),
    Truncate(usize, u64),
    Sync(usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncFolder(PathBuf),
}

/// What is to go wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The next syncs of files fail.
    pub(super) sync: bool,
    /// The next append writes so many bytes and fails.
    pub(super) short: Option<usize>,
    /// Nothing can be cut.
    pub(super) truncate: bool,
    /// New files cannot be made.
    pub(super) create: bool,
    /// The next sync of a file waits for a word from the test.
    pub(super) hold: Option<std::sync::mpsc::Receiver<()>>,
}

#[derive(Default)]
struct State {
    steps: Mutex<Vec<Step>>,
    faults: Mutex<Faults>,
    free: AtomicU64,
    files: AtomicU64,
}

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub(super) struct TestDisk {
    root: PathBuf,
    state: Arc<State>,
}

impl TestDisk {
    /// A disk over a folder, which already has what the folder holds. Paths are remembered relative to it; the index
    /// is none of its business.
    pub(super) fn over(root: &Path) -> Self {
        let state = State {
            free: AtomicU64::new(u64::MAX),
            ..State::default()
        };
        let disk = Self {
            root: root.to_owned(),
            state: Arc::new(state),
        };
        for folder in [root.to_owned(), root.join("journal")] {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_file() && !path.ends_with("lock") {
                    let number = disk.next_file();
                    disk.log(Step::Create(disk.relative(&path), number));
                    disk.log(Step::Append(number, fs::read(&path).unwrap()));
                    disk.log(Step::Sync(number));
                }
            }
            disk.log(Step::SyncFolder(disk.relative(&folder)));
        }
        disk
    }

    fn next_file(&self) -> usize {
        let number = self.state.files.fetch_add(1, Ordering::SeqCst);
        usize::try_from(number).unwrap()
    }

    pub(super) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state.faults.lock().unwrap());
    }

    pub(super) fn set_free(&self, bytes: u64) {
        self.state.free.store(bytes, Ordering::SeqCst);
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        self.state.steps.lock().unwrap().clone()
    }

    pub(super) fn step_count(&self) -> usize {
        self.state.steps.lock().unwrap().len()
    }

    fn log(&self, step: Step) {
        self.state.steps.lock().unwrap().push(step);
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap().to_owned()
    }
}

fn failure() -> io::Error {
    io::Error::other("a fault that the test asked for")
}

impl Disk for TestDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Out>> {
        if self.state.faults.lock().unwrap().create {
            return Err(failure());
        }
        let number = self.next_file();
        self.log(Step::Create(self.relative(path), number));
        Ok(Box::new(TestOut {
            disk: self.clone(),
            number,
            out: RealDisk.create(path)?,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.log(Step::Rename(self.relative(from), self.relative(to)));
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.log(Step::Remove(self.relative(path)));
        RealDisk.remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.log(Step::SyncFolder(self.relative(path)));
        Ok(())
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(self.state.free.load(Ordering::SeqCst))
    }
}

struct TestOut {
    disk: TestDisk,
    number: usize,
    out: Box<dyn Out>,
}

impl Out for TestOut {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let short = self.disk.state.faults.lock().unwrap().short.take();
        let written = short.map_or(bytes, |length| &bytes[..length.min(bytes.len())]);
        self.disk.log(Step::Append(self.number, written.to_vec()));
        self.out.append(written)?;
        if short.is_some() {
            return Err(failure());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let hold = self.disk.state.faults.lock().unwrap().hold.take();
        if let Some(hold) = hold {
            hold.recv().unwrap();
        }
        if self.disk.state.faults.lock().unwrap().sync {
            return Err(failure());
        }
        self.disk.log(Step::Sync(self.number));
        // Nothing of the test's survives a power cut but what the steps say, so the machine's own disk is left alone.
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.disk.state.faults.lock().unwrap().truncate {
            return Err(failure());
        }
        self.disk.log(Step::Truncate(self.number, length));
        self.out.truncate(length)
    }
}

/// A file as the machine sees it, and as the disk has it.
#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
}

/// Something in a folder's names that the disk may or may not have.
#[derive(Debug, Clone)]
enum Naming {
    Set(PathBuf, usize),
    Unset(PathBuf),
    Move(PathBuf, PathBuf),
}

impl Naming {
    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Set(path, _) | Self::Unset(path) => vec![path.parent().unwrap()],
            Self::Move(from, to) => vec![from.parent().unwrap(), to.parent().unwrap()],
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Unset(path) => {
                names.remove(path);
            }
            Self::Move(from, to) => {
                let moved: Vec<PathBuf> = names
                    .keys()
                    .filter(|path| path.starts_with(from))
                    .cloned()
                    .collect();
                for path in moved {
                    let file = names.remove(&path).unwrap();
                    let rest = path.strip_prefix(from).unwrap();
                    let target = if rest.as_os_str().is_empty() {
                        to.clone()
                    } else {
                        to.join(rest)
                    };
                    names.insert(target, file);
                }
            }
        }
    }
}

/// A power cut after the first `steps`: which of what was not synced reached the disk is decided by `chance`, asked for
/// every sector, length and name. The result is put into a folder.
pub(super) fn power_cut(steps: &[Step], chance: &mut dyn FnMut() -> bool, into: &Path) {
    let mut files: BTreeMap<usize, Content> = BTreeMap::new();
    let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut pending: Vec<Naming> = Vec::new();
    for step in steps {
        match step {
            Step::Create(path, number) => {
                files.insert(*number, Content::default());
                pending.push(Naming::Set(path.clone(), *number));
            }
            Step::Append(number, bytes) => {
                files.get_mut(number).unwrap().now.extend_from_slice(bytes);
            }
            Step::Truncate(number, length) => {
                let length = usize::try_from(*length).unwrap();
                files.get_mut(number).unwrap().now.truncate(length);
            }
            Step::Sync(number) => {
                let file = files.get_mut(number).unwrap();
                file.synced = file.now.clone();
            }
            Step::Rename(from, to) => pending.push(Naming::Move(from.clone(), to.clone())),
            Step::Remove(path) => pending.push(Naming::Unset(path.clone())),
            Step::SyncFolder(folder) => {
                pending.retain(|naming| {
                    let synced = naming.folders().contains(&folder.as_path());
                    if synced {
                        naming.apply(&mut names);
                    }
                    !synced
                });
            }
        }
    }
    for naming in pending {
        if chance() {
            naming.apply(&mut names);
        }
    }
    for (path, number) in names {
        let content = survivor(&files[&number], chance);
        let path = into.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// What is left of a file: its synced content with any of the sectors changed since, and any length between the two.
fn survivor(file: &Content, chance: &mut dyn FnMut() -> bool) -> Vec<u8> {
    let (short, long) = {
        let (a, b) = (file.synced.len(), file.now.len());
        (a.min(b), a.max(b))
    };
    if file.synced == file.now {
        return file.now.clone();
    }
    let mut length = short;
    while length < long && chance() {
        length = (length / SECTOR + 1) * SECTOR;
    }
    let length = length.min(long);
    let mut content = file.synced.clone();
    content.resize(length, 0);
    for start in (0..length).step_by(SECTOR) {
        let end = (start + SECTOR).min(length);
        let new = file
            .now
            .get(start..end.min(file.now.len()))
            .unwrap_or_default();
        if content[start..start + new.len()] != *new && chance() {
            content[start..start + new.len()].copy_from_slice(new);
        }
    }
    content
}
