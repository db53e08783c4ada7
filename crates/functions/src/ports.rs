//! What the catalogue asks of the wall, which it may not see: unpacking, and which interpreters there are.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use model::runtime::Language;
use serde::{Deserialize, Serialize};

/// A future behind a pointer, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A file of a package that holds machine code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeCode {
    /// Its path in the package.
    pub path: String,
    /// `e_machine` of the ELF header: 62 is x86-64, 183 is AArch64.
    pub machine: u16,
}

/// What is in a package, as the unpacker saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// All files together, unpacked.
    pub bytes: u64,
    /// Files and directories.
    pub entries: u64,
    /// Files that hold machine code, by path.
    pub native: Vec<NativeCode>,
}

/// Why a package was not unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The bytes are no zip file, or one that uses what is not supported; in words.
    NotZip(String),
    /// Larger than a package may be.
    TooLarge,
    /// An entry is dangerous or more than allowed; in words.
    Entry(String),
    /// The platform could not do it; in words for the operator.
    Platform(String),
}

/// Unpacks zip files behind the wall.
pub trait Unpacker: Send + Sync + 'static {
    /// Unpacks `zip` into the new directory `into`, whole or not at all. `into` may exist already, put there by an
    /// earlier unpacking of the same bytes; then it is left as it is.
    fn unpack<'a>(&'a self, zip: &'a Path, into: &'a Path) -> BoxFuture<'a, Result<Contents, Refused>>;
}

/// The interpreter that serves a language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// What will run, such as `Python { minor: 11 }` for `python3.13` where only that is installed.
    pub language: Language,
    /// Said once if it is not what was asked for.
    pub warning: Option<String>,
}

/// Which interpreters this machine has.
pub trait Interpreters: Send + Sync + 'static {
    /// The nearest interpreter, or in words what is missing and how to get it.
    fn serve(&self, language: Language) -> Result<Served, String>;
}
