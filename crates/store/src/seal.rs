//! Secrets at rest: sealed with AES-256-GCM under keys derived from one master key, which lives outside the data directory.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use base::entropy::{Entropy, SystemEntropy};
use zeroize::Zeroizing;

use crate::disk::{create_file, make_dir, replace_file, sync_dir};

/// The first line of a key file names its form.
const HEADER: &str = "pinfold-key-1 ";
/// A key file is one short line.
const KEY_FILE_BYTES_MAX: u64 = 256;
/// The first byte of what is sealed names its form.
const SEALED_FORM: u8 = 1;
/// Chosen anew for each sealing. It derives a key of its own, so that no number of sealings under one master key wears
/// out its nonces.
const SALT_BYTES: usize = 32;
/// Links that are followed to learn where a path leads (as many as Linux follows).
const LINKS_MAX: usize = 40;
/// Digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 32;
/// Separates our derivations from those of anyone who might use the same master key.
const DERIVE_SALT: &[u8] = b"pinfold";

/// The key that all others come from.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// What was sealed cannot be opened: another key, another context, or changed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed secret cannot be opened: it was changed, or sealed for something else or under another key")]
pub struct UnsealError;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The data directory was sealed, and the key file is gone.
    #[error("the secrets in {} were sealed with a key that is not in {}: put the file back, or name it with --key-file", data_dir.display(), key_file.display())]
    Missing {
        /// Where the key was looked for.
        key_file: PathBuf,
        /// What it sealed.
        data_dir: PathBuf,
    },
    /// The key file holds another key.
    #[error("the secrets in {} were sealed with another key than the one in {}: name the right one with --key-file", data_dir.display(), key_file.display())]
    Other {
        /// The file with the other key.
        key_file: PathBuf,
        /// What the right one sealed.
        data_dir: PathBuf,
    },
    /// The key file would be in every copy of what it protects.
    #[error("the key file {} lies inside the data directory, whose backups must not hold it: name another place with --key-file", key_file.display())]
    InDataDir {
        /// The file.
        key_file: PathBuf,
    },
    /// Others than the owner have rights on the key file.
    #[error("the key file {} is open to others (mode {mode:03o}): chmod 600 it", key_file.display())]
    Exposed {
        /// The file.
        key_file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key.
    #[error("the key file {} holds no key", key_file.display())]
    Malformed {
        /// The file.
        key_file: PathBuf,
    },
    /// The file cannot be used.
    #[error("{doing} {}", path.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl MasterKey {
    /// Reads the key file, or makes one (mode 0600) with a new key where there is none.
    ///
    /// Ask [`crate::data_dir::DataDir::master_key`] instead where there is a data directory: it never lets a new key take
    /// the place of a lost one.
    ///
    /// # Errors
    /// The file cannot be read or made, is open to others, or holds no key.
    pub fn load_or_create(key_file: &Path) -> Result<Self, KeyError> {
        match Self::load(key_file)? {
            Some(key) => Ok(key),
            None => Self::create(key_file),
        }
    }

    /// Reads the key file; `None` where there is none.
    ///
    /// # Errors
    /// The file cannot be read, is open to others, or holds no key.
    pub fn load(key_file: &Path) -> Result<Option<Self>, KeyError> {
        let failed = |source| KeyError::Failed { doing: "read the key file", path: key_file.to_owned(), source };
        // Through a link, as secrets are often mounted, but only to a file.
        let mut options = fs::OpenOptions::new();
        // A pipe in its place must not make us wait for a writer.
        let file = match options.read(true).custom_flags(libc::O_NONBLOCK).open(key_file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let found = file.metadata().map_err(failed)?;
        let malformed = || KeyError::Malformed { key_file: key_file.to_owned() };
        if !found.is_file() || found.len() > KEY_FILE_BYTES_MAX {
            return Err(malformed());
        }
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { key_file: key_file.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => malformed(),
            _ => failed(error),
        })?;
        let digits = text.trim_end().strip_prefix(HEADER).ok_or_else(malformed)?;
        parse_hex(digits).map(|key| Some(Self(key))).ok_or_else(malformed)
    }

    fn create(key_file: &Path) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        SystemEntropy.fill(&mut *key);
        let mut text = Zeroizing::new(String::with_capacity(HEADER.len() + 65));
        text.push_str(HEADER);
        push_hex(&mut text, &*key);
        text.push('\n');
        match write_new(key_file, text.as_bytes()) {
            Ok(()) => Ok(Self(key)),
            // Another start was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Self::load(key_file)?.ok_or_else(|| KeyError::Malformed { key_file: key_file.to_owned() })
            }
            Err(source) => Err(KeyError::Failed { doing: "make the key file", path: key_file.to_owned(), source }),
        }
    }

    /// A key from 32 bytes that the caller has; for tests, or a key that is kept elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Seals `plain` so that it can be opened for the same `context` only (name there what it belongs to). Chance is no
    /// argument here: a repeated salt would betray what it seals.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(1 + SALT_BYTES + plain.len() + AES_256_GCM.tag_len());
        sealed.push(SEALED_FORM);
        sealed.resize(1 + SALT_BYTES, 0);
        SystemEntropy.fill(&mut sealed[1..]);
        let key = self.sealing_key(&sealed[1..]);
        let mut content = Zeroizing::new(plain.to_vec());
        let tag = key
            .seal_in_place_separate_tag(nonce(), Aad::from(context), &mut content[..])
            .expect("a value in memory is shorter than the 64 GiB that the cipher takes");
        sealed.extend_from_slice(&content);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was sealed for this context.
    ///
    /// # Errors
    /// It was changed, or sealed for another context or under another key.
    pub fn unseal(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let Some((&SEALED_FORM, rest)) = sealed.split_first() else { return Err(UnsealError) };
        let (salt, content) = rest.split_at_checked(SALT_BYTES).ok_or(UnsealError)?;
        let mut content = Zeroizing::new(content.to_vec());
        let key = self.sealing_key(salt);
        let plain = key.open_in_place(nonce(), Aad::from(context), &mut content[..]).map_err(|_| UnsealError)?;
        let length = plain.len();
        content.truncate(length);
        Ok(content)
    }

    /// Another key for a purpose of its own (HKDF-SHA256, RFC 5869, with the label as its info).
    pub fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        derive(&Salt::new(HKDF_SHA256, DERIVE_SALT).extract(&*self.0), label)
    }

    /// Tells keys apart without telling anything of them.
    pub(crate) fn fingerprint(&self) -> String {
        let mut text = String::new();
        push_hex(&mut text, &self.derive(b"fingerprint")[..FINGERPRINT_DIGITS / 2]);
        text
    }

    fn sealing_key(&self, salt: &[u8]) -> LessSafeKey {
        let key = derive(&Salt::new(HKDF_SHA256, salt).extract(&*self.0), b"seal");
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are a key of this cipher"))
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey")
    }
}

/// Refuses a key file that cannot serve this data directory, which need not be there yet: one that lies in it, is no file,
/// is open to others or holds no key. One that is not there may still be made. Changes nothing.
///
/// # Errors
/// `InDataDir`, `Exposed`, `Malformed`, or `Failed` if it cannot be read.
pub fn check_key_file(data_dir: &Path, key_file: &Path) -> Result<(), KeyError> {
    if lies_in(key_file, data_dir) {
        return Err(KeyError::InDataDir { key_file: key_file.to_owned() });
    }
    let is_missing = MasterKey::load(key_file)?.is_none();
    // No key is made at the end of a link that leads nowhere.
    if is_missing && fs::symlink_metadata(key_file).is_ok() {
        return Err(KeyError::Malformed { key_file: key_file.to_owned() });
    }
    Ok(())
}

/// The key of a data directory: the one that it remembers, or, where nothing `may_be_sealed` yet, the first one that it sees.
/// Where something may be sealed and nothing is remembered, no key is made, and none is remembered before it is proven.
pub(crate) fn key_of(
    data_dir: &Path,
    remembered: &Path,
    key_file: &Path,
    may_be_sealed: bool,
) -> Result<MasterKey, KeyError> {
    check_key_file(data_dir, key_file)?;
    let known = fingerprint_in(remembered)?;
    let key = MasterKey::load(key_file)?;
    let missing = || KeyError::Missing { key_file: key_file.to_owned(), data_dir: data_dir.to_owned() };
    match known {
        Some(known) => match key.ok_or_else(missing)? {
            key if key.fingerprint() == known => Ok(key),
            _ => Err(KeyError::Other { key_file: key_file.to_owned(), data_dir: data_dir.to_owned() }),
        },
        None if may_be_sealed => {
            let key = key.ok_or_else(missing)?;
            tracing::warn!(
                file = %remembered.display(),
                "the fingerprint of the master key is lost; it is written anew when the key has opened something"
            );
            Ok(key)
        }
        None => {
            let key = key.map_or_else(|| MasterKey::load_or_create(key_file), Ok)?;
            remember(remembered, &key)?;
            Ok(key)
        }
    }
}

/// Writes the fingerprint of the key, unless it is there.
pub(crate) fn remember(remembered: &Path, key: &MasterKey) -> Result<(), KeyError> {
    let fingerprint = key.fingerprint();
    if fingerprint_in(remembered)?.as_ref() == Some(&fingerprint) {
        return Ok(());
    }
    replace_file(remembered, format!("{fingerprint}\n").as_bytes()).map_err(|source| KeyError::Failed {
        doing: "write the fingerprint of the key to",
        path: remembered.to_owned(),
        source,
    })
}

/// What is remembered; `None` where nothing is, or something that never was a fingerprint.
fn fingerprint_in(remembered: &Path) -> Result<Option<String>, KeyError> {
    match fs::read(remembered) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text).trim_end().to_owned();
            let is_whole = text.len() == FINGERPRINT_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            Ok(is_whole.then_some(text))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => {
            let doing = "read the fingerprint of the key in";
            Err(KeyError::Failed { doing, path: remembered.to_owned(), source })
        }
    }
}

/// Whether the path is the directory or in it, as it is written or where its links lead; neither need be there.
fn lies_in(path: &Path, directory: &Path) -> bool {
    let (Ok(path), Ok(directory)) = (std::path::absolute(path), std::path::absolute(directory)) else { return false };
    let place = destination(&directory, LINKS_MAX);
    path.starts_with(&directory) || path.starts_with(&place) || destination(&path, LINKS_MAX).starts_with(place)
}

/// Where an absolute path leads, through links to what is not there as well.
fn destination(path: &Path, links_left: usize) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let Some(above) = path.parent() else { return path.to_owned() };
    let above = destination(above, links_left);
    // Only `..` has no name.
    let Some(name) = path.file_name() else { return above.parent().unwrap_or(&above).to_owned() };
    let place = above.join(name);
    match fs::read_link(&place) {
        Ok(target) if links_left > 0 => destination(&above.join(target), links_left - 1),
        _ => place,
    }
}

/// Makes the file whole or not at all, and never in place of another.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let missing = directory.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists());
    for above in missing.collect::<Vec<_>>().into_iter().rev() {
        make_dir(above)?;
    }
    let new = path.with_added_extension(format!("{}.new", std::process::id()));
    let outcome = create_file(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        fs::hard_link(&new, path)
    });
    let _ = fs::remove_file(&new);
    outcome.and_then(|()| sync_dir(directory))
}

/// Each key seals once, so that its nonce need not vary.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn derive(from: &Prk, label: &[u8]) -> Zeroizing<[u8; 32]> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = Zeroizing::new([0; 32]);
    let info = [label];
    let material = from.expand(&info, Length).expect("32 bytes are within what HKDF gives");
    material.fill(&mut *key).expect("the length asked for is the length of the array");
    key
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).expect("four bits are one digit"));
        }
    }
}

fn parse_hex(digits: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    let digits = digits.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_for_the_same_context_only() {
        let key = MasterKey::from_bytes([7; 32]);
        for plain in [&b""[..], b"secret", &[0; 5000]] {
            let sealed = key.seal(b"function/f", plain);
            assert_eq!(**key.unseal(b"function/f", &sealed).expect("opens"), *plain);
            assert_eq!(key.unseal(b"function/g", &sealed), Err(UnsealError));
            assert_eq!(MasterKey::from_bytes([8; 32]).unseal(b"function/f", &sealed), Err(UnsealError));
            for at in [0, 1, SALT_BYTES, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert_eq!(key.unseal(b"function/f", &changed), Err(UnsealError), "byte {at}");
            }
            for length in [0, 1, SALT_BYTES, sealed.len() - 1] {
                assert_eq!(key.unseal(b"function/f", &sealed[..length]), Err(UnsealError), "length {length}");
            }
        }
    }

    #[test]
    fn seals_differently_each_time() {
        let key = MasterKey::from_bytes([7; 32]);
        assert_ne!(key.seal(b"", b"secret"), key.seal(b"", b"secret"));
    }

    /// Computed with Python's `hmac`: extract with salt `pinfold`, expand with the label.
    #[test]
    fn derives_as_rfc_5869_says() {
        let mut text = String::new();
        push_hex(&mut text, &*MasterKey::from_bytes([7; 32]).derive(b"sessions"));
        assert_eq!(text, "6dfcde0cc9e379c46e80909a5cab47ca3255a514cc24e905e83e7d5d2e5150cc");
    }

    #[test]
    fn refuses_key_files_with_one_clear_message() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/key");
        let key = MasterKey::load_or_create(&path).expect("created");
        let again = MasterKey::load_or_create(&path).expect("loaded");
        assert_eq!(key.fingerprint(), again.fingerprint());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);

        let show = |path: &Path| MasterKey::load(path).expect_err("refused").to_string();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert_eq!(show(&path), format!("the key file {} is open to others (mode 640): chmod 600 it", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        for content in ["", "pinfold-key-1 00", "pinfold-key-2 00", &"x".repeat(300)] {
            fs::write(&path, content).expect("written");
            assert_eq!(show(&path), format!("the key file {} holds no key", path.display()));
        }
        assert!(show(folder.path()).ends_with("holds no key"));
    }
}
