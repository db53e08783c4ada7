//! Finds installed interpreters: candidates by name, without running any; the one that is needed is run once and asked.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::runtime::Language;

use crate::packs::Interpreter;

/// The oldest versions that the language packs' own code can run on.
const PYTHON_MINOR_MIN: u32 = 6;
const NODE_MAJOR_MIN: u32 = 14;
/// An interpreter that says nothing for so long is none.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Where to look besides `PATH`; `~` is the home folder, one `*` in a path stands for any one folder.
const PLACES: &[&str] = &[
    "/usr/local/bin",
    "/usr/bin",
    "/opt/*/bin",
    "~/.pyenv/versions/*/bin",
    "~/.local/share/uv/python/*/bin",
    "~/.nvm/versions/node/*/bin",
    "~/.local/share/fnm/node-versions/*/installation/bin",
    "~/.volta/tools/image/node/*/bin",
    "~/.asdf/installs/python/*/bin",
    "~/.asdf/installs/nodejs/*/bin",
];

/// The places in words, for whoever misses an interpreter.
pub(super) fn places() -> String {
    format!("PATH, {}", PLACES.join(", "))
}

/// Which family of languages an interpreter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Python,
    Node,
}

/// A program that may be an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// The version as its file name says it, such as 11 of `python3.11`.
    pub(super) version: Option<u32>,
}

/// Real binaries by their real path, in the order of the places.
pub(super) fn candidates(family: Family) -> Vec<Candidate> {
    let mut seen = BTreeMap::new();
    let mut found = Vec::new();
    for folder in folders() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names.iter().filter_map(|name| name.to_str()) {
            if !is_name_of(family, name) {
                continue;
            }
            // Links are followed to the program itself: a guest sees only its real folder. Scripts are shims.
            let Ok(path) = fs::canonicalize(folder.join(name)) else { continue };
            if !is_program(&path) || seen.insert(path.clone(), ()).is_some() {
                continue;
            }
            let version = path.file_name().and_then(|name| name.to_str()).and_then(version_in_name);
            found.push(Candidate { path, version });
        }
    }
    found
}

fn is_name_of(family: Family, name: &str) -> bool {
    match family {
        Family::Python => name == "python3" || name == "python" || version_in_name(name).is_some(),
        Family::Node => matches!(name, "node" | "nodejs"),
    }
}

/// 11 of `python3.11`.
fn version_in_name(name: &str) -> Option<u32> {
    let minor = name.strip_prefix("python3.")?;
    minor.bytes().all(|b| b.is_ascii_digit()).then(|| minor.parse().ok())?
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let home = env::home_dir().unwrap_or_default();
    let mut patterns: Vec<PathBuf> = PLACES
        .iter()
        .map(|place| place.strip_prefix("~/").map_or_else(|| PathBuf::from(place), |rest| home.join(rest)))
        .collect();
    patterns.extend(env::var_os("PYENV_ROOT").map(|root| Path::new(&root).join("versions/*/bin")));
    patterns.extend(env::var_os("NVM_DIR").map(|root| Path::new(&root).join("versions/node/*/bin")));
    for pattern in patterns {
        let text = pattern.to_string_lossy().into_owned();
        let Some((before, after)) = text.split_once("/*/") else {
            folders.push(pattern);
            continue;
        };
        let Ok(entries) = fs::read_dir(before) else { continue };
        let mut matching: Vec<_> = entries.flatten().map(|entry| entry.path().join(after)).collect();
        matching.sort();
        folders.extend(matching);
    }
    folders.retain(|folder| folder.is_absolute());
    folders
}

/// Whether the file is an ELF program rather than a script.
fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// Runs the program and asks it what it is. `None` if it is no interpreter that a language pack can run on.
pub(super) fn inspect(family: Family, path: &Path) -> Option<Interpreter> {
    match family {
        Family::Python => {
            // -I: no environment and no folder of the caller's has a say.
            let script = "import sys; v = sys.version_info; \
                print(sys.implementation.name, '%d.%d.%d' % v[:3], sys.base_prefix, sep='\\n')";
            let answer = ask(Command::new(path).args(["-I", "-S", "-c", script])).ok()?;
            let mut lines = answer.lines();
            let (name, version, prefix) = (lines.next()?, lines.next()?, lines.next()?);
            let minor = version.strip_prefix("3.")?.split('.').next()?.parse().ok()?;
            (name == "cpython" && minor >= PYTHON_MINOR_MIN).then(|| Interpreter {
                language: Language::Python { minor },
                version: version.to_owned(),
                path: path.to_owned(),
                prefix: PathBuf::from(prefix),
            })
        }
        Family::Node => {
            let answer = ask(Command::new(path).arg("--version")).ok()?;
            let version = answer.trim().strip_prefix('v')?;
            let major = version.split('.').next()?.parse().ok()?;
            let folder = path.parent()?;
            let prefix = if folder.file_name()? == "bin" { folder.parent()? } else { folder };
            (major >= NODE_MAJOR_MIN).then(|| Interpreter {
                language: Language::Node { major },
                version: version.to_owned(),
                path: path.to_owned(),
                prefix: prefix.to_owned(),
            })
        }
    }
}

/// What the program prints, if it ends well and soon.
fn ask(command: &mut Command) -> io::Result<String> {
    let mut child = command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > ANSWER_MAX {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(4096).read_to_string(&mut answer)?;
    }
    if status.success() { Ok(answer) } else { Err(io::Error::other("the interpreter failed")) }
}
