//! A directory as the zip file that Lambda takes: the same directory gives the same bytes.

use std::fs::{self, Metadata};
use std::io::{self, Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::limits::{PACKAGE_ENTRIES_MAX, PACKAGE_UNZIPPED_BYTES_MAX, PACKAGE_ZIPPED_BYTES_MAX};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::cli::Failure;
use crate::cli::print::bytes_for_people;

/// Folders and files of tools, which no function needs.
const LEFT_OUT: [&str; 9] =
    [".git", ".hg", ".svn", ".idea", ".vscode", "__pycache__", ".DS_Store", ".mypy_cache", ".pytest_cache"];
/// Endings of files that editors and interpreters leave behind.
const LEFT_OUT_ENDINGS: [&str; 5] = [".pyc", ".pyo", ".swp", ".swo", "~"];
/// Folders deeper than this are a circle of links.
const DEPTH_MAX: usize = 64;

/// A finished zip file.
#[derive(Debug)]
pub struct Package {
    pub zip: Vec<u8>,
    pub files: usize,
    /// Names that were left out, as they stand in the directory.
    pub left_out: Vec<String>,
}

/// Packs a directory; links are followed inside it and refused where they lead out.
pub fn pack(dir: &Path) -> Result<Package, Failure> {
    let root = fs::canonicalize(dir).map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
    if !root.is_dir() {
        return Err(Failure::usage(format!("{} is no directory", dir.display()))
            .hint("deploy takes the directory around the handler"));
    }
    let mut packer = Packer {
        root: root.clone(),
        writer: ZipWriter::new(Cursor::new(Vec::new())),
        files: 0,
        bytes: 0,
        left_out: Vec::new(),
    };
    packer.folder(&root, "", &mut vec![root.clone()])?;
    if packer.files == 0 {
        return Err(Failure::usage(format!("{} holds no files", dir.display())));
    }
    let zip =
        packer.writer.finish().map_err(|error| Failure::new(format!("finish the package: {error}")))?.into_inner();
    if zip.len() > PACKAGE_ZIPPED_BYTES_MAX {
        return Err(too_large("zipped", zip.len() as u64, PACKAGE_ZIPPED_BYTES_MAX as u64));
    }
    Ok(Package { zip, files: packer.files, left_out: packer.left_out })
}

struct Packer {
    root: PathBuf,
    writer: ZipWriter<Cursor<Vec<u8>>>,
    files: usize,
    bytes: u64,
    left_out: Vec<String>,
}

impl Packer {
    /// Adds what a folder holds, in order of names. `above` are the real folders around it.
    fn folder(&mut self, path: &Path, prefix: &str, above: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| failed(path, &error))? {
            names.push(entry.map_err(|error| failed(path, &error))?.file_name());
        }
        names.sort();
        for name in names {
            let inner = path.join(&name);
            let name = name
                .into_string()
                .map_err(|_| Failure::usage(format!("the name of {} is no UTF-8", inner.display())))?;
            let shown = format!("{prefix}{name}");
            if is_left_out(&shown, &name) {
                self.left_out.push(shown);
                continue;
            }
            let (real, found) = self.follow(&inner, &shown)?;
            if found.is_dir() {
                if above.contains(&real) || above.len() > DEPTH_MAX {
                    return Err(Failure::usage(format!("{shown} leads in a circle")));
                }
                above.push(real.clone());
                self.folder(&real, &format!("{shown}/"), above)?;
                above.pop();
            } else if found.is_file() {
                self.file(&real, shown, &found)?;
            } else {
                // Sockets, pipes and devices mean nothing elsewhere.
                self.left_out.push(shown);
            }
        }
        Ok(())
    }

    /// What really lies behind a name; a link that leads out of the directory is refused.
    fn follow(&self, path: &Path, shown: &str) -> Result<(PathBuf, Metadata), Failure> {
        let found = fs::symlink_metadata(path).map_err(|error| failed(path, &error))?;
        if !found.is_symlink() {
            return Ok((path.to_owned(), found));
        }
        let real = fs::canonicalize(path)
            .map_err(|error| Failure::usage(format!("{shown} is a link that cannot be followed: {error}")))?;
        if !real.starts_with(&self.root) {
            return Err(Failure::usage(format!("{shown} is a link out of the directory, to {}", real.display()))
                .hint("copy what it points to into the directory, or remove the link"));
        }
        let found = fs::metadata(&real).map_err(|error| failed(&real, &error))?;
        Ok((real, found))
    }

    fn file(&mut self, path: &Path, name: String, found: &Metadata) -> Result<(), Failure> {
        self.files += 1;
        self.bytes += found.len();
        if self.files > PACKAGE_ENTRIES_MAX {
            return Err(Failure::usage(format!("the package would hold more than {PACKAGE_ENTRIES_MAX} files")));
        }
        if self.bytes > PACKAGE_UNZIPPED_BYTES_MAX {
            return Err(too_large("unzipped", self.bytes, PACKAGE_UNZIPPED_BYTES_MAX));
        }
        let executable = found.permissions().mode() & 0o111 != 0;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            // Zip's first day, always: a digest must not change because a file was touched.
            .last_modified_time(DateTime::default())
            .unix_permissions(if executable { 0o755 } else { 0o644 });
        let bytes = fs::read(path).map_err(|error| failed(path, &error))?;
        self.writer
            .start_file(name.as_str(), options)
            .map_err(io::Error::from)
            .and_then(|()| self.writer.write_all(&bytes))
            .map_err(|error| Failure::new(format!("pack {name}: {error}")))
    }
}

fn is_left_out(path: &str, name: &str) -> bool {
    LEFT_OUT.contains(&name)
        || LEFT_OUT_ENDINGS.iter().any(|ending| name.ends_with(ending))
        || name.starts_with(".#")
        || path.ends_with("node_modules/.cache")
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("read {}: {error}", path.display()))
}

fn too_large(how: &str, bytes: u64, max: u64) -> Failure {
    Failure::usage(format!("the package has {} {how}; Lambda takes {}", bytes_for_people(bytes), bytes_for_people(max)))
        .hint("nothing was sent; leave out what the function does not need")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
        fs::write(path, text).expect("write");
    }

    fn entries(package: &Package) -> Vec<String> {
        let mut archive = zip::ZipArchive::new(Cursor::new(&package.zip)).expect("a zip file");
        (0..archive.len())
            .map(|index| {
                let mut entry = archive.by_index(index).expect("an entry");
                let mut text = String::new();
                entry.read_to_string(&mut text).expect("text");
                format!("{} {:o} {text}", entry.name().expect("a name"), entry.unix_mode().unwrap_or_default() & 0o777)
            })
            .collect()
    }

    #[test]
    fn a_directory_is_packed_without_the_leavings_of_tools() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in [
            "app.py",
            "lib/a.py",
            "b.sh",
            ".env",
            ".git/config",
            "__pycache__/app.pyc",
            "node_modules/.cache/x",
            "node_modules/m/index.js",
            ".app.py.swp",
            "app.py~",
            ".#app.py",
        ] {
            write(dir.path(), name, "x");
        }
        fs::set_permissions(dir.path().join("b.sh"), fs::Permissions::from_mode(0o700)).expect("mode");
        symlink("lib/a.py", dir.path().join("z.py")).expect("link");
        let package = pack(dir.path()).expect("packed");
        assert_eq!(
            entries(&package),
            [
                ".env 644 x",
                "app.py 644 x",
                "b.sh 755 x",
                "lib/a.py 644 x",
                "node_modules/m/index.js 644 x",
                "z.py 644 x"
            ]
        );
        assert_eq!(
            package.left_out,
            [".#app.py", ".app.py.swp", ".git", "__pycache__", "app.py~", "node_modules/.cache"]
        );
        write(dir.path(), "app.py", "x");
        assert_eq!(pack(dir.path()).expect("again").zip, package.zip, "the same files, the same bytes");
    }

    #[test]
    fn links_are_not_followed_out_of_the_directory() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "app/app.py", "x");
        write(dir.path(), "secret", "x");
        let app = dir.path().join("app");
        for (target, problem) in [
            ("../secret", "link out"),
            ("/etc/hostname", "link out"),
            (".", "circle"),
            ("nowhere", "cannot be followed"),
        ] {
            symlink(target, app.join("link")).expect("link");
            let failure = pack(&app).expect_err(target);
            assert!(failure.message.contains(problem), "{failure:?}");
            fs::remove_file(app.join("link")).expect("remove");
        }
    }

    #[test]
    fn what_lambda_would_refuse_is_told_before_it_is_sent() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(pack(dir.path()).expect_err("nothing in it").message.contains("no files"));
        let large = fs::File::create(dir.path().join("large")).expect("a file");
        large.set_len(PACKAGE_UNZIPPED_BYTES_MAX + 1).expect("sparse");
        assert!(pack(dir.path()).expect_err("too large").message.contains("262 MB unzipped"));
        assert!(pack(&dir.path().join("large")).expect_err("a file").message.contains("no directory"));
    }
}
