//! The programs that tests and checks use: which are there, and with `--install` how the others come, outside the clone.
//!
//! Each pinned set lives in a folder whose name holds the hash of its lock file, and is complete once the file
//! `complete` stands in it: a second run fetches nothing, and a changed lock file never meets an old set.

mod install;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::commands;

/// Pinned here, since cargo keeps no lock file for programs.
const DENY_VERSION: &str = "0.20.2";
const NEXTEST_VERSION: &str = "0.9.143";

const PYTHON_LOCK: &str = "tests/e2e/requirements.lock";
const AWS_V1_LOCK: &str = "tests/e2e/awscli1.lock";
const NODE_LOCK: &str = "tests/e2e/node/package-lock.json";
const CLIENTS_LOCK: &str = "tests/clients/Cargo.lock";

/// Whether what is missing may be installed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Choice {
    /// Install what is missing (Debian's packages, and pinned sets in a cache folder outside the clone).
    #[arg(long)]
    pub(crate) install: bool,
}

/// What the tools are for: only those are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Lint,
    Unit,
    EndToEnd,
    Everything,
}

/// Tools that are there.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) deny: PathBuf,
    pub(crate) nextest: PathBuf,
    /// Python with boto3 and pytest.
    pub(crate) python: PathBuf,
    /// The AWS CLI, version 1, as a Python module of this interpreter.
    pub(crate) aws_v1: PathBuf,
    pub(crate) aws_v2: PathBuf,
    pub(crate) node_modules: PathBuf,
    /// The folder that heavy clients are built into.
    pub(crate) clients: PathBuf,
}

/// One thing that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A Debian package, told by whether it can be used.
    Debian(&'static str),
    Deny,
    Nextest,
    Python,
    AwsV1,
    NodeModules,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Debian("python3-venv"),
        Self::Debian("nodejs"),
        Self::Debian("npm"),
        Self::Debian("awscli"),
        Self::Python,
        Self::AwsV1,
        Self::NodeModules,
        Self::Nextest,
        Self::Deny,
    ];

    fn needed(self, purpose: For) -> bool {
        let purposes: &[For] = match self {
            Self::Deny => &[For::Lint],
            Self::Nextest => &[For::Unit],
            // The tests of the sandbox start real Node.js functions.
            Self::Debian("nodejs") => &[For::Unit, For::EndToEnd],
            _ => &[For::EndToEnd],
        };
        purpose == For::Everything || purposes.contains(&purpose)
    }

    fn is_there(self, tools: &Tools) -> bool {
        match self {
            Self::Debian("python3-venv") => install::python_has_venv(),
            Self::Debian("nodejs") => commands::find_program("node").is_some(),
            // Only needed to install the Node.js packages.
            Self::Debian("npm") => is_complete(&tools.node_modules) || commands::find_program("npm").is_some(),
            Self::Debian("awscli") => tools.aws_v2.is_file(),
            Self::Debian(_) => false,
            Self::Deny => tools.deny.is_file(),
            Self::Nextest => tools.nextest.is_file(),
            Self::Python => is_complete(&venv_of(&tools.python)),
            Self::AwsV1 => is_complete(&venv_of(&tools.aws_v1)),
            Self::NodeModules => is_complete(&tools.node_modules),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Debian(name) => format!("Debian package {name}"),
            Self::Deny => format!("cargo-deny {DENY_VERSION} (checks licences, bans and sources)"),
            Self::Nextest => format!("cargo-nextest {NEXTEST_VERSION} (runs the tests of the crates)"),
            Self::Python => format!("Python packages of {PYTHON_LOCK} (boto3, pytest)"),
            Self::AwsV1 => format!("Python packages of {AWS_V1_LOCK} (AWS CLI, version 1)"),
            Self::NodeModules => format!("Node.js packages of {NODE_LOCK} (AWS SDK for JavaScript)"),
        }
    }
}

impl Tools {
    /// The tools for a purpose: found, or with `--install` made; otherwise an error that lists what is missing.
    pub(crate) fn ready(choice: &Choice, purpose: For) -> Result<Self> {
        let tools = Self::places()?;
        let missing: Vec<Part> =
            Part::ALL.into_iter().filter(|part| part.needed(purpose) && !part.is_there(&tools)).collect();
        if missing.is_empty() {
            return Ok(tools);
        }
        if !choice.install {
            let list: Vec<_> = missing.iter().map(|part| format!("  - {}", part.describe())).collect();
            bail!(
                "these are missing:\n{}\nThe same command with --install installs them: Debian's packages with \
                 apt-get, the others under {}",
                list.join("\n"),
                cache_dir()?.display()
            );
        }
        install::install(&tools, &missing)?;
        let tools = Self::places()?;
        match missing.iter().find(|part| !part.is_there(&tools)) {
            Some(part) => bail!("{} was installed but cannot be found", part.describe()),
            None => Ok(tools),
        }
    }

    /// Where each tool is, or would be once installed.
    fn places() -> Result<Self> {
        let cache = cache_dir()?;
        let python = install::python();
        let keyed = |name: &str, lock: &str, also: &str| -> Result<PathBuf> {
            let text = fs::read(commands::root().join(lock)).with_context(|| format!("read {lock}"))?;
            Ok(cache.join(format!("{name}-{:016x}", hash(&[&text, also.as_bytes()]))))
        };
        let interpreter = fs::canonicalize(&python).unwrap_or(python).display().to_string();
        let program = |name: &str, version: &str| {
            let pinned = cache.join(format!("{name}-{version}/bin/{name}"));
            if pinned.is_file() { pinned } else { commands::find_program(name).unwrap_or(pinned) }
        };
        Ok(Self {
            deny: program("cargo-deny", DENY_VERSION),
            nextest: program("cargo-nextest", NEXTEST_VERSION),
            python: keyed("python", PYTHON_LOCK, &interpreter)?.join("bin/python"),
            aws_v1: keyed("awscli1", AWS_V1_LOCK, &interpreter)?.join("bin/python"),
            aws_v2: PathBuf::from("/usr/bin/aws"),
            node_modules: keyed("node", NODE_LOCK, "")?,
            clients: keyed("clients", CLIENTS_LOCK, "")?,
        })
    }
}

/// The folder that holds every installed set: `$XDG_CACHE_HOME/pinfold/tools`, by default under `~/.cache`.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(base.join("pinfold/tools"))
}

fn venv_of(interpreter: &Path) -> PathBuf {
    interpreter.ancestors().nth(2).unwrap_or(interpreter).to_path_buf()
}

fn is_complete(folder: &Path) -> bool {
    folder.join("complete").is_file()
}

/// FNV-1a, 64 bits: these names only have to differ when a lock file does.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter().chain(&[0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
