//! Language packs: which interpreters this machine has, and how each is started.

mod find;
mod start;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::runtime::Language;
use parking_lot::Mutex;

use find::{Candidate, Family};
pub(crate) use start::{Start, Talk, start};

/// The interpreters of this machine, found when first asked for.
#[derive(Debug, Default)]
pub struct Packs {
    /// Guests run them as other users of this machine, from where they lie.
    for_others: bool,
    /// What each program said it is, as long as the file stays the same.
    inspected: Mutex<HashMap<PathBuf, (SystemTime, Option<Interpreter>)>>,
    /// What serves each language; forgotten when the program's file changes or goes.
    served: Mutex<HashMap<Language, (SystemTime, Served)>>,
}

/// An installed interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The language and version that it is, as a runtime would name it.
    pub language: Language,
    /// Its full version, such as `3.11.7`.
    pub version: String,
    /// The real binary: no link, no shim.
    pub path: PathBuf,
    /// The folder that holds binary and standard library; must be visible to guests.
    pub prefix: PathBuf,
}

/// What serves a runtime here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The interpreter; `None` for a `bootstrap` that the package brings.
    pub interpreter: Option<Interpreter>,
    /// One sentence for the user if another version than the asked one serves.
    pub warning: Option<String>,
}

/// No interpreter on this machine can serve the runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} needs an interpreter, and none was found on this machine; looked in {looked_in}")]
pub struct MissingInterpreter {
    /// The language asked for.
    pub wanted: Language,
    /// Where it was looked for, in words.
    pub looked_in: String,
}

impl Packs {
    /// Looks for nothing yet: that costs a few milliseconds for each interpreter that is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that other users of this machine can run.
    pub(crate) fn for_others() -> Self {
        Self { for_others: true, ..Self::default() }
    }

    /// Chooses the interpreter for a language: the version asked for, else the nearest newer one, else the nearest older.
    /// The first call for a language looks through folders and runs an interpreter or a few: about 50 ms.
    pub fn serve(&self, language: Language) -> Result<Served, MissingInterpreter> {
        let (family, wanted) = match language {
            Language::Provided => return Ok(Served { interpreter: None, warning: None }),
            Language::Python { minor } => (Family::Python, minor),
            Language::Node { major } => (Family::Node, major),
        };
        if let Some((modified, served)) = self.served.lock().get(&language)
            && served.interpreter.as_ref().and_then(|interpreter| modified_at(&interpreter.path)) == Some(*modified)
        {
            return Ok(served.clone());
        }
        let mut candidates = find::candidates(family);
        // Those whose name says the version need not be run to be ranked; the sort keeps the order of the places.
        candidates.sort_by_key(|candidate| candidate.version.map(|version| rank(wanted, version)));
        let mut best: Option<Interpreter> = None;
        for candidate in candidates {
            let ranked = |interpreter: &Interpreter| rank(wanted, number_of(interpreter));
            // From here on names are sorted: none of them can be nearer.
            if let (Some(best), Some(version)) = (&best, candidate.version)
                && ranked(best) <= rank(wanted, version)
            {
                break;
            }
            if let Some(found) = self.inspect(family, &candidate)
                && best.as_ref().is_none_or(|best| ranked(&found) < ranked(best))
            {
                best = Some(found);
            }
        }
        let Some(interpreter) = best else {
            return Err(MissingInterpreter { wanted: language, looked_in: find::places() });
        };
        let warning = (interpreter.language != language).then(|| {
            let (kind, version) = (interpreter.language, &interpreter.version);
            let name = if matches!(kind, Language::Python { .. }) { "Python" } else { "Node.js" };
            format!("{language} is not installed here: the function runs on {name} {version}, the nearest that is")
        });
        let modified = modified_at(&interpreter.path);
        let served = Served { interpreter: Some(interpreter), warning };
        if let Some(modified) = modified {
            self.served.lock().insert(language, (modified, served.clone()));
        }
        Ok(served)
    }

    /// Whether nothing that looks like an interpreter is installed. Runs none.
    pub fn is_empty(&self) -> bool {
        [Family::Python, Family::Node].into_iter().all(|family| find::candidates(family).is_empty())
    }

    /// Every interpreter that was found. Runs each of them once: for `doctor`, not for the road of a request.
    pub fn installed(&self) -> Vec<Interpreter> {
        let mut installed: Vec<Interpreter> = [Family::Python, Family::Node]
            .into_iter()
            .flat_map(|family| find::candidates(family).into_iter().map(move |candidate| (family, candidate)))
            .filter_map(|(family, candidate)| self.inspect(family, &candidate))
            .collect();
        installed.sort_by_key(|interpreter| interpreter.language);
        installed
    }

    fn inspect(&self, family: Family, candidate: &Candidate) -> Option<Interpreter> {
        let modified = modified_at(&candidate.path)?;
        if let Some((seen, interpreter)) = self.inspected.lock().get(&candidate.path)
            && *seen == modified
        {
            return interpreter.clone();
        }
        let found = find::inspect(family, &candidate.path);
        let interpreter = found.filter(|found| !self.for_others || is_public(&found.path));
        self.inspected.lock().insert(candidate.path.clone(), (modified, interpreter.clone()));
        interpreter
    }
}

/// Whether every user can pass to this program and run it.
fn is_public(program: &Path) -> bool {
    const OTHERS_PASS: u32 = 0o001;
    program.ancestors().all(|part| fs::metadata(part).is_ok_and(|found| found.permissions().mode() & OTHERS_PASS != 0))
}

/// Exact before newer before older, and the nearest of each.
fn rank(wanted: u32, found: u32) -> (u32, u32) {
    if found >= wanted { (0, found - wanted) } else { (1, wanted - found) }
}

fn number_of(interpreter: &Interpreter) -> u32 {
    match interpreter.language {
        Language::Python { minor } => minor,
        Language::Node { major } => major,
        Language::Provided => 0,
    }
}

fn modified_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_newer_version_is_preferred() {
        let mut versions = vec![6, 8, 9, 11, 13];
        versions.sort_by_key(|version| rank(10, *version));
        assert_eq!(versions, [11, 13, 9, 8, 6]);
        assert!(rank(10, 10) < rank(10, 11));
    }

    #[test]
    fn a_program_in_a_closed_folder_is_not_for_others() {
        let dir = tempfile::tempdir().expect("a folder");
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).expect("made");
        let program = closed.join("python3");
        fs::write(&program, "").expect("written");
        let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
        allow(dir.path(), 0o755);
        allow(&program, 0o755);
        allow(&closed, 0o711);
        assert!(is_public(&program));
        allow(&closed, 0o700);
        assert!(!is_public(&program));
    }

    #[test]
    fn every_version_is_served_by_what_is_installed() {
        let packs = Packs::new();
        for language in [Language::Python { minor: 7 }, Language::Python { minor: 99 }, Language::Node { major: 4 }] {
            let served = packs.serve(language).expect("the machine that runs the tests has Python and Node.js");
            let interpreter = served.interpreter.expect("an interpreted language");
            assert_eq!(served.warning.is_some(), interpreter.language != language, "{language}");
            assert_eq!(fs::canonicalize(&interpreter.path).expect("it exists"), interpreter.path);
            assert!(interpreter.path.starts_with(&interpreter.prefix), "{interpreter:?}");
            assert_eq!(packs.serve(language).expect("the same").interpreter, Some(interpreter));
        }
        let served = packs.serve(Language::Provided).expect("needs nothing");
        assert_eq!(served, Served { interpreter: None, warning: None });
    }
}
