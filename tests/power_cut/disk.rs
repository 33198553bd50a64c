//! A disk that keeps what was synced, and of the rest whatever chance decides.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::tape::Entry;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// What a system writes back at a time.
const PAGE_BYTES: usize = 4_096;

/// A seeded source of choices.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize { len: usize },
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<(u64, Change)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// One change of names: these are gone, these are there.
#[derive(Debug, Clone)]
struct Naming {
    at: u64,
    parent: PathBuf,
    gone: Option<PathBuf>,
    there: Option<(PathBuf, Node)>,
}

/// What the power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Lost,
    /// All of it, as after `kill -9`.
    Kept,
    /// What came first.
    Prefix,
    /// Any of the calls, in spite of their order.
    Some,
    /// Any of the pages.
    Pages,
    /// Any of the sectors.
    Sectors,
}

const FATES: [Fate; 6] = [Fate::Lost, Fate::Kept, Fate::Prefix, Fate::Some, Fate::Pages, Fate::Sectors];

/// How a power cut treats contents and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    data: Fate,
    names: Fate,
}

impl Cut {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let data = FATES[dice.below(FATES.len())];
        // A name is there or not: there are no halves of it.
        let names = FATES[dice.below(4)];
        Self { data, names }
    }

    /// Everything that was not synced is gone.
    pub(crate) const fn lost() -> Self {
        Self { data: Fate::Lost, names: Fate::Lost }
    }
}

/// The disk at some moment of a recording.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    root: PathBuf,
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    /// As the running system sees it.
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    pending_names: Vec<Naming>,
    syncs: HashMap<u64, (u64, u64, PathBuf)>,
    now: u64,
}

impl Disk {
    /// The disk as it is now; everything on it is durable.
    pub(crate) fn of(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            by_inode: HashMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            syncs: HashMap::new(),
            now: 0,
        };
        disk.load(root);
        disk.durable_names = disk.names.clone();
        disk
    }

    fn load(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::metadata(&path).unwrap();
            if about.is_dir() {
                self.names.insert(path.clone(), Node::Dir);
                self.load(&path);
            } else {
                let file = self.new_file(about.ino());
                self.files[file].durable = fs::read(&path).unwrap();
                self.names.insert(path, Node::File(file));
            }
        }
    }

    fn new_file(&mut self, inode: u64) -> usize {
        self.files.push(File::default());
        self.by_inode.insert(inode, self.files.len() - 1);
        self.files.len() - 1
    }

    /// Lets one call happen; whether a power cut just after it could leave something new.
    pub(crate) fn play(&mut self, entry: &Entry) -> bool {
        self.now += 1;
        match entry {
            Entry::Create { inode, path } => {
                let file = self.new_file(*inode);
                self.name(None, Some((path.clone(), Node::File(file))));
            }
            Entry::MakeDir { path } => self.name(None, Some((path.clone(), Node::Dir))),
            Entry::Unlink { path } => self.name(Some(path.clone()), None),
            Entry::Rename { from, to } => {
                let node = self.names[from];
                self.name(Some(from.clone()), Some((to.clone(), node)));
            }
            Entry::Write { inode, offset, data } => {
                self.change(*inode, Change::Write { offset: *offset, data: data.clone() });
            }
            Entry::Resize { inode, len } => self.change(*inode, Change::Resize { len: *len }),
            Entry::SyncBegins { inode, path, token } => {
                self.syncs.insert(*token, (self.now, *inode, path.clone()));
                return false;
            }
            Entry::SyncEnds { token } => self.synced(*token),
            Entry::Mark { .. } => {}
            Entry::Spawn => return false,
        }
        true
    }

    fn name(&mut self, gone: Option<PathBuf>, there: Option<(PathBuf, Node)>) {
        if let Some(gone) = &gone {
            self.names.remove(gone);
        }
        if let Some((path, node)) = &there {
            self.names.insert(path.clone(), *node);
        }
        let path = gone.as_ref().or(there.as_ref().map(|(path, _)| path)).unwrap();
        let parent = path.parent().unwrap().to_owned();
        self.pending_names.push(Naming { at: self.now, parent, gone, there });
    }

    fn change(&mut self, inode: u64, change: Change) {
        if let Some(file) = self.by_inode.get(&inode) {
            self.files[*file].pending.push((self.now, change));
        }
    }

    /// A sync covers what came before it began, and of names only those in the directory synced.
    fn synced(&mut self, token: u64) {
        let Some((begun, inode, path)) = self.syncs.remove(&token) else { return };
        if let Some(file) = self.by_inode.get(&inode) {
            let file = &mut self.files[*file];
            let later = file.pending.partition_point(|(at, _)| *at < begun);
            for (_, change) in file.pending.drain(..later) {
                apply(&mut file.durable, &change);
            }
        }
        let (done, left) = std::mem::take(&mut self.pending_names)
            .into_iter()
            .partition(|naming| naming.parent == path && naming.at < begun);
        self.pending_names = left;
        for naming in done {
            rename(&mut self.durable_names, naming);
        }
    }

    /// Writes the disk to `target` as a power cut now would leave it.
    pub(crate) fn cut(&self, cut: Cut, dice: &mut Dice, target: &Path) {
        let mut names = self.durable_names.clone();
        let prefix = dice.below(self.pending_names.len() + 1);
        for (index, naming) in self.pending_names.iter().enumerate() {
            if survives(cut.names, index, prefix, dice) {
                rename(&mut names, naming.clone());
            }
        }
        fs::create_dir_all(target).unwrap();
        // Sorted: a directory comes before what is in it.
        for (path, node) in &names {
            let image = target.join(path.strip_prefix(&self.root).unwrap());
            if !image.parent().unwrap().is_dir() {
                continue;
            }
            match node {
                Node::Dir => fs::create_dir_all(&image).unwrap(),
                Node::File(file) => fs::write(&image, self.contents(*file, cut.data, dice)).unwrap(),
            }
        }
    }

    fn contents(&self, file: usize, fate: Fate, dice: &mut Dice) -> Vec<u8> {
        let File { durable, pending } = &self.files[file];
        let mut bytes = durable.clone();
        let prefix = dice.below(pending.len() + 1);
        for (index, (_, change)) in pending.iter().enumerate() {
            match (fate, change) {
                (Fate::Pages, Change::Write { offset, data }) => {
                    tear(&mut bytes, *offset, data, PAGE_BYTES, dice);
                }
                (Fate::Sectors, Change::Write { offset, data }) => {
                    tear(&mut bytes, *offset, data, SECTOR_BYTES, dice);
                }
                _ if survives(fate, index, prefix, dice) => apply(&mut bytes, change),
                _ => {}
            }
        }
        bytes
    }
}

fn survives(fate: Fate, index: usize, prefix: usize, dice: &mut Dice) -> bool {
    match fate {
        Fate::Lost => false,
        Fate::Kept => true,
        Fate::Prefix => index < prefix,
        Fate::Some | Fate::Pages | Fate::Sectors => dice.coin(),
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, data } => {
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len(), 0);
            }
            bytes[*offset..][..data.len()].copy_from_slice(data);
        }
        Change::Resize { len } => bytes.resize(*len, 0),
    }
}

/// Keeps some pieces of a write; the file may have got longer without them.
fn tear(bytes: &mut Vec<u8>, offset: usize, data: &[u8], piece: usize, dice: &mut Dice) {
    // Single pieces, or long runs of them: a bad luck in one sector is another than half a megabyte.
    let run = piece << dice.below(8);
    if dice.coin() && bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    let mut at = 0;
    while at < data.len() {
        let end = ((offset + at) / run + 1) * run - offset;
        let end = end.min(data.len());
        if dice.coin() {
            apply(bytes, &Change::Write { offset: offset + at, data: data[at..end].to_vec() });
        }
        at = end;
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Node>, naming: Naming) {
    if let Some(gone) = naming.gone {
        names.remove(&gone);
    }
    if let Some((path, node)) = naming.there {
        names.insert(path, node);
    }
}
