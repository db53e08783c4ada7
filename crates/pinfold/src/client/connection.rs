//! How to reach a running server: the file that it leaves in its data directory, for its owner only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "client.json";

/// Address and key of a running server; `client.json` and the file of `--ready-file` hold it as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// A key of the account's owner.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// Twelve digits.
    pub account_id: String,
    /// Where functions are created.
    pub region: String,
    /// The server's process.
    pub pid: u32,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint)
            .field("access_key_id", &self.access_key_id)
            .field("account_id", &self.account_id)
            .field("region", &self.region)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// A connection file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("read the connection file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("understand the connection file {}", path.display())]
    Understand {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("write the connection file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Connection {
    /// The place of the file for a data directory.
    pub fn file_in(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE_NAME)
    }

    /// Reads a connection file; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let bytes = match fs::read(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(FileError::Read { path: path.to_owned(), source }),
            Ok(bytes) => bytes,
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| FileError::Understand { path: path.to_owned(), source })
    }

    /// Writes the file with mode 0600, whole or not at all; a reader never sees half of it.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(self).expect("a struct of texts is JSON");
        write_whole(path, format!("{text}\n").as_bytes(), 0o600)
            .map_err(|source| FileError::Write { path: path.to_owned(), source })
    }

    /// Removes the file if it is still this process's own.
    pub fn remove(&self, path: &Path) {
        if matches!(Self::read(path), Ok(Some(found)) if found.pid == self.pid) {
            // A file that stays behind is noticed by its dead process.
            let _ = fs::remove_file(path);
        }
    }
}

/// Replaces a file by renaming a new one over it.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    // What an earlier process of the same id left behind is not trusted.
    let _ = fs::remove_file(&new);
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn connection() -> Connection {
        Connection {
            endpoint: "http://127.0.0.1:4566".into(),
            access_key_id: "AKIA".into(),
            secret_access_key: "very secret".into(),
            account_id: "000000000000".into(),
            region: "us-east-1".into(),
            pid: std::process::id(),
        }
    }

    #[test]
    fn the_file_is_for_its_owner_and_comes_back_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = Connection::file_in(dir.path());
        assert!(Connection::read(&path).expect("nothing there").is_none());
        fs::write(&path, "an older file, readable by all").expect("write");
        connection().write(&path).expect("write");
        assert_eq!(Connection::read(&path).expect("read"), Some(connection()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "nothing else is left");
    }

    #[test]
    fn only_its_own_file_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = Connection::file_in(dir.path());
        connection().write(&path).expect("write");
        Connection { pid: 1, ..connection() }.remove(&path);
        assert!(path.exists());
        connection().remove(&path);
        assert!(!path.exists());
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(!format!("{:?}", connection()).contains("very secret"));
    }
}
