//! A disk that remembers what was synced and what was not, and what a power cut may leave of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base::entropy::{Entropy, SeededEntropy};

use super::shim::Event;

/// Disks write such pieces whole or not at all.
const SECTOR: usize = 512;

/// What is left of what was not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// Nothing.
    All,
    /// Everything: the process died, not the machine.
    Nothing,
    /// Some changes, some in part; some names.
    Some(u64),
}

/// The state after a number of events.
#[derive(Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    /// The file that an inode number means now.
    numbers: HashMap<u64, usize>,
    /// What the process sees.
    now: BTreeMap<PathBuf, Node>,
    /// What is sure to be there after a power cut.
    durable: BTreeMap<PathBuf, Node>,
    /// What was done to names and not yet synced, in order.
    pending: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Disk {
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { inode, path } => {
                self.numbers.insert(*inode, self.files.len());
                self.name(path, Some(Node::File(self.files.len())));
                self.files.push(File::default());
            }
            Event::Write { inode, offset, bytes } => {
                let change = Change::Write { offset: *offset as usize, bytes: bytes.clone() };
                self.file(*inode).pending.push(change);
            }
            Event::Truncate { inode, length } => self.file(*inode).pending.push(Change::Truncate(*length as usize)),
            Event::Sync { inode } => {
                let file = self.file(*inode);
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable);
                }
            }
            Event::SyncDir { path } => {
                let synced = |changed: &Path| changed.parent() == Some(path);
                for (path, node) in self.pending.extract_if(.., |(changed, _)| synced(changed)) {
                    set(&mut self.durable, path, node);
                }
            }
            Event::MakeDir { path } => self.name(path, Some(Node::Dir)),
            Event::Rename { from, to } => {
                let node = self.now[from];
                assert!(matches!(node, Node::File(_)), "only files are renamed");
                self.name(to, Some(node));
                self.name(from, None);
            }
            Event::Link { from, to } => self.name(to, Some(self.now[from])),
            Event::Remove { path } => self.name(path, None),
            Event::Said { .. } => {}
        }
    }

    /// Writes what is left to a folder that takes the place of `root`.
    pub(crate) fn rebuild(&self, root: &Path, folder: &Path, loss: Loss) {
        let mut chance = Chance::new(match loss {
            Loss::Some(seed) => seed,
            Loss::All | Loss::Nothing => 0,
        });
        let mut names = match loss {
            Loss::Nothing => self.now.clone(),
            Loss::All | Loss::Some(_) => self.durable.clone(),
        };
        if let Loss::Some(_) = loss {
            for (path, node) in &self.pending {
                if chance.of(2) {
                    set(&mut names, path.clone(), *node);
                }
            }
        }
        for (path, node) in &names {
            let Ok(below) = path.strip_prefix(root) else { continue };
            let target = folder.join(below);
            // What lies in a folder that is lost is lost.
            if !target.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Dir => fs::create_dir(&target).expect("made"),
                Node::File(number) => {
                    let mut file =
                        OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).expect("made");
                    file.write_all(&self.files[*number].left(loss, &mut chance)).expect("written");
                }
            }
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        &mut self.files[self.numbers[&inode]]
    }

    fn name(&mut self, path: &Path, node: Option<Node>) {
        set(&mut self.now, path.to_owned(), node);
        self.pending.push((path.to_owned(), node));
    }
}

impl File {
    fn left(&self, loss: Loss, chance: &mut Chance) -> Vec<u8> {
        let mut content = self.durable.clone();
        for change in &self.pending {
            match loss {
                Loss::All => {}
                Loss::Nothing => change.apply(&mut content),
                Loss::Some(_) => change.apply_some(&mut content, chance),
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => content.resize(*length, 0),
            Self::Write { offset, bytes } => overwrite(content, *offset, bytes),
        }
    }

    /// Not at all, whole, or only some of its sectors.
    fn apply_some(&self, content: &mut Vec<u8>, chance: &mut Chance) {
        match self {
            _ if chance.of(3) => {}
            Self::Write { offset, bytes } if chance.of(2) => {
                let mut at = 0;
                while at < bytes.len() {
                    let length = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
                    if chance.of(2) {
                        overwrite(content, offset + at, &bytes[at..at + length]);
                    }
                    at += length;
                }
            }
            _ => self.apply(content),
        }
    }
}

/// Repeatable dice.
pub(crate) struct Chance(SeededEntropy);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % limit.max(1) as u64) as usize
    }

    /// Once in `times`.
    fn of(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn set(names: &mut BTreeMap<PathBuf, Node>, path: PathBuf, node: Option<Node>) {
    match node {
        Some(node) => drop(names.insert(path, node)),
        None => drop(names.remove(&path)),
    }
}
