//! The functions that are measured: empty handlers in each language.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use model::runtime::Language;

/// One language with its empty function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    Python,
    Node,
    Native,
}

impl Sample {
    pub(crate) const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Native];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Native => "native",
        }
    }

    pub(crate) fn of_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|sample| sample.name() == name);
        found.with_context(|| format!("there is no sample {name}"))
    }

    pub(crate) fn runtime(self) -> &'static str {
        match self {
            Self::Python => "python3.11",
            Self::Node => "nodejs20.x",
            Self::Native => "provided.al2023",
        }
    }

    pub(crate) fn language(self) -> Language {
        Language::of_runtime(self.runtime()).expect("the samples name runtimes that are served")
    }

    /// Puts the function's files into a directory.
    pub(crate) fn write(self, dir: &Path) -> Result<()> {
        match self {
            Self::Python => std::fs::write(dir.join("app.py"), "def handler(event, context):\n    return event\n")?,
            Self::Node => std::fs::write(dir.join("app.js"), "exports.handler = async (event) => event;\n")?,
            Self::Native => {
                let bootstrap = dir.join("bootstrap");
                std::fs::copy(native_bootstrap()?, &bootstrap).context("copy the native bootstrap")?;
                std::fs::set_permissions(&bootstrap, std::fs::Permissions::from_mode(0o755))?;
            }
        }
        // A guest under a user id of its own reads it too.
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// The function as a zip file.
    pub(crate) fn zip(self) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir()?;
        self.write(dir.path())?;
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for entry in std::fs::read_dir(dir.path())? {
            let entry = entry?;
            let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
            zip.start_file(entry.file_name().to_string_lossy(), options)?;
            zip.write_all(&std::fs::read(entry.path())?)?;
        }
        Ok(zip.finish()?.into_inner())
    }
}

/// The echo function built with the `lambda_runtime` crate, from the workspace of clients.
fn native_bootstrap() -> Result<std::path::PathBuf> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the benchmarks stand in the project's folder")?;
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::PathBuf::from(dir).join("clients"),
        None => root.join("target/clients"),
    };
    let bootstrap = target.join("release/bootstrap-rust");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--release", "--quiet", "--package", "bootstrap-rust", "--manifest-path"])
        .arg(root.join("tests/clients/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .context("run cargo for the native bootstrap")?;
    ensure!(status.success(), "the native bootstrap was not built");
    if !bootstrap.is_file() {
        bail!("there is no {}", bootstrap.display());
    }
    Ok(bootstrap)
}
