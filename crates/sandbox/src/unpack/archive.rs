//! Reads a zip file and writes its entries below one folder, whatever the entries say.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use zip::{CompressionMethod, ZipArchive};

use super::{NativeFile, Refusal, UnpackReport};

/// A path as Linux takes it (PATH_MAX less what lies before it in a cell).
const PATH_BYTES_MAX: usize = 4000;
/// A name as Linux file systems take it.
const NAME_BYTES_MAX: usize = 255;
/// Target of a symbolic link.
const LINK_BYTES_MAX: u64 = 4000;
/// Bytes of one entry's header in the central directory, without name, extra field and comment (APPNOTE.TXT 4.3.12).
const CENTRAL_HEADER_BYTES: usize = 46;
/// Names at the top that are reported.
const TOP_LEVEL_MAX: usize = 1000;
const BLOCK_BYTES: usize = 64 * 1024;
/// How often a link is followed anew because something moved meanwhile; seldom more than twice.
const WAY_TRIES: u32 = 10_000;

const KIND_MASK: u32 = libc::S_IFMT;
const EXECUTABLE_BITS: u32 = 0o111;

/// Why nothing came of it.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    /// The host's disk is at fault.
    Disk(io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn not_zip(error: impl ToString) -> Failure {
    Failure::Refused(Refusal::NotZip(error.to_string()))
}

fn entry(name: &str, fault: &str) -> Failure {
    // A name is the package's text: shown escaped and cut.
    let shown: String = name.chars().take(200).flat_map(char::escape_debug).collect();
    Failure::Refused(Refusal::Entry(format!("entry \"{shown}\" {fault}")))
}

/// Writes all entries of `zip` below `folder`. Links come last, so that no entry is written through one.
pub(super) fn extract(
    mut zip: File,
    folder: &OwnedFd,
    bytes_max: u64,
    entries_max: usize,
) -> Result<UnpackReport, Failure> {
    let count = count_entries(&mut zip, entries_max).map_err(not_zip)?;
    if count > entries_max as u64 {
        return Err(Refusal::Entry(format!("{count} entries, but a package may have {entries_max}")).into());
    }
    let mut archive = ZipArchive::new(zip).map_err(not_zip)?;
    if archive.len() as u64 != count {
        return Err(Refusal::Entry("an entry is there twice".to_owned()).into());
    }
    let mut unpacker =
        Unpacker { folder, bytes_left: bytes_max, report: UnpackReport::default(), top: BTreeSet::new() };
    let mut links = Vec::new();
    for index in 0..archive.len() {
        if let Some(link) = unpacker.take(&mut archive, index)? {
            links.push(link);
        }
    }
    for (name, target) in &links {
        unpacker.link(name, target)?;
    }
    // Only now: a link may lead over another one, which the words of its target do not show.
    for (name, _) in &links {
        unpacker.check_way(name)?;
    }
    let mut report = unpacker.report;
    report.bytes = bytes_max - unpacker.bytes_left;
    report.entries = archive.len() as u64;
    report.top_level = unpacker.top.into_iter().collect();
    report.native.sort_by(|one, other| one.path.cmp(&other.path));
    report.python_modules.sort();
    rustix::fs::fchmod(folder, Mode::from_raw_mode(0o755)).map_err(|error| Failure::Disk(error.into()))?;
    Ok(report)
}

struct Unpacker<'a> {
    folder: &'a OwnedFd,
    bytes_left: u64,
    report: UnpackReport,
    top: BTreeSet<String>,
}

impl Unpacker<'_> {
    /// Writes one entry, or gives it back if it is a link: its name and target.
    fn take(&mut self, archive: &mut ZipArchive<File>, index: usize) -> Result<Option<(String, String)>, Failure> {
        let file = archive.by_index_raw(index).map_err(not_zip)?;
        let name = String::from_utf8(file.name_raw().to_vec())
            .map_err(|error| entry(&String::from_utf8_lossy(error.as_bytes()), "has a name that is not UTF-8"))?;
        let mode = file.unix_mode().unwrap_or(0);
        let is_folder = name.ends_with('/');
        check_name(&name)?;
        if file.encrypted() {
            return Err(entry(&name, "is encrypted"));
        }
        let kind = mode & KIND_MASK;
        // Tools of other systems write no kind at all.
        let allowed = match kind {
            0 => true,
            libc::S_IFDIR => is_folder,
            libc::S_IFREG => !is_folder,
            libc::S_IFLNK => !is_folder,
            _ => return Err(entry(&name, "is a device, pipe or socket")),
        };
        if !allowed {
            return Err(entry(&name, "is a folder by its name or by its mode, but not by both"));
        }
        if !matches!(file.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(entry(&name, "is compressed with a method other than deflate"));
        }
        if file.size() > self.bytes_left {
            return Err(Refusal::TooLarge.into());
        }
        drop(file);
        if let Some(first) = name.split('/').find(|part| !part.is_empty() && *part != ".")
            && self.top.len() < TOP_LEVEL_MAX
        {
            self.top.insert(first.to_owned());
        }
        if is_folder {
            self.make_folders(&name, &name)?;
            return Ok(None);
        }
        let mut file = archive.by_index(index).map_err(|error| entry(&name, &format!("cannot be read: {error}")))?;
        if kind == libc::S_IFLNK {
            let mut target = Vec::new();
            file.by_ref()
                .take(LINK_BYTES_MAX + 1)
                .read_to_end(&mut target)
                .map_err(|error| entry(&name, &format!("cannot be read: {error}")))?;
            let target = String::from_utf8(target).map_err(|_| entry(&name, "is a link whose target is not UTF-8"))?;
            check_link(&name, &target)?;
            return Ok(Some((name, target)));
        }
        self.write(&name, mode, &mut file)?;
        Ok(None)
    }

    fn write(&mut self, name: &str, mode: u32, content: &mut impl Read) -> Result<(), Failure> {
        let (parent, _) = name.rsplit_once('/').unwrap_or(("", name));
        self.make_folders(parent, name)?;
        let mode = if mode & EXECUTABLE_BITS != 0 { 0o755 } else { 0o644 };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = rustix::fs::openat2(self.folder, name, flags, Mode::from_raw_mode(mode), within());
        let mut file = File::from(opened.map_err(|error| conflict(name, error))?);
        let mut block = vec![0; BLOCK_BYTES];
        let mut first = true;
        loop {
            let length = content.read(&mut block).map_err(|error| entry(name, &format!("cannot be read: {error}")))?;
            let Some(part) = block.get(..length).filter(|part| !part.is_empty()) else { break };
            // What is counted is what comes out, not what the package says of itself.
            self.bytes_left = self.bytes_left.checked_sub(length as u64).ok_or(Refusal::TooLarge)?;
            if std::mem::take(&mut first) {
                self.note(name, part);
            }
            file.write_all(part).map_err(Failure::Disk)?;
        }
        // The mode at creation went through the umask.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|error| Failure::Disk(error.into()))
    }

    /// Remembers machine code (ELF header: magic at 0, byte order at 5, machine at 18).
    fn note(&mut self, name: &str, start: &[u8]) {
        let file_name = name.rsplit('/').next().unwrap_or(name);
        if file_name.ends_with(".so") && (file_name.contains(".cpython-") || file_name.ends_with(".abi3.so")) {
            self.report.python_modules.push(name.to_owned());
        }
        if start.starts_with(b"\x7fELF")
            && let (Some(order), Some(machine)) = (start.get(5), start.get(18..20))
            && let Ok(machine) = <[u8; 2]>::try_from(machine)
        {
            let machine = if *order == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
            self.report.native.push(NativeFile { path: name.to_owned(), machine });
        }
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
        self.make_folders(parent, name)?;
        let path = if parent.is_empty() { "." } else { parent };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let parent = rustix::fs::openat2(self.folder, path, flags, Mode::empty(), within())
            .map_err(|error| conflict(name, error))?;
        rustix::fs::symlinkat(target, &parent, last).map_err(|error| conflict(name, error))
    }

    /// A link may lead nowhere, but not out.
    fn check_way(&self, name: &str) -> Result<(), Failure> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(self.folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), beneath);
        let mut found = open();
        // The kernel does not vouch for `..` while anything on the machine is renamed or mounted (openat2(2)).
        for _ in 0..WAY_TRIES {
            if !matches!(found, Err(Errno::AGAIN)) {
                break;
            }
            std::thread::yield_now();
            found = open();
        }
        match found {
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(()),
            Err(Errno::XDEV) => Err(entry(name, "is a link that leaves the package")),
            Err(error) => Err(Failure::Disk(error.into())),
        }
    }

    /// Makes `path` and all above it; those that are there already must be folders.
    fn make_folders(&self, path: &str, name: &str) -> Result<(), Failure> {
        let mut at = rustix::io::fcntl_dupfd_cloexec(self.folder, 0).map_err(|error| Failure::Disk(error.into()))?;
        for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
            match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(conflict(name, error)),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            at = rustix::fs::openat(at.as_fd(), part, flags, Mode::empty()).map_err(|error| conflict(name, error))?;
        }
        Ok(())
    }
}

fn within() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// Entries that cannot both exist are the package's fault, the rest is the disk's.
fn conflict(name: &str, error: Errno) -> Failure {
    match error {
        Errno::EXIST | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR => entry(name, "stands in another entry's place"),
        Errno::NAMETOOLONG => entry(name, "has too long a name"),
        error => Failure::Disk(error.into()),
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    if name.starts_with('/') {
        return Err(entry(name, "has an absolute path"));
    }
    if name.contains('\0') {
        return Err(entry(name, "has a zero byte in its name"));
    }
    if name.split('/').any(|part| part == "..") {
        return Err(entry(name, "leaves the package"));
    }
    if name.len() > PATH_BYTES_MAX || name.split('/').any(|part| part.len() > NAME_BYTES_MAX) {
        return Err(entry(name, "has too long a name"));
    }
    if name.split('/').all(|part| part.is_empty() || part == ".")
        && name.trim_matches(['/', '.']).is_empty()
        && name != "./"
    {
        return Err(entry(name, "has no name"));
    }
    Ok(())
}

/// A link may go anywhere within the package, and nowhere else.
fn check_link(name: &str, target: &str) -> Result<(), Failure> {
    if target.is_empty() || target.len() as u64 > LINK_BYTES_MAX || target.contains('\0') {
        return Err(entry(name, "is a link without a usable target"));
    }
    if target.starts_with('/') {
        return Err(entry(name, "is a link to an absolute path"));
    }
    let mut depth = name.split('/').filter(|part| !part.is_empty() && *part != ".").count().saturating_sub(1);
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or_else(|| entry(name, "is a link that leaves the package"))?,
            _ => depth += 1,
        }
    }
    Ok(())
}

/// Counts the headers of the central directory, which must be as many and as long as the end of the file says (APPNOTE.TXT
/// 4.3.12, 4.3.14 and 4.3.16). Stops soon after `entries_max`.
fn count_entries(zip: &mut File, entries_max: usize) -> io::Result<u64> {
    let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let end = read_end(zip)?.ok_or_else(|| wrong("it has no end record"))?;
    if end.count > entries_max as u64 {
        return Ok(end.count);
    }
    let start = end.at.checked_sub(end.directory_bytes).ok_or_else(|| wrong("it is cut off"))?;
    zip.seek(SeekFrom::Start(start))?;
    let mut directory = BufReader::with_capacity(BLOCK_BYTES, &mut *zip);
    let (mut count, mut walked) = (0, 0);
    while walked < end.directory_bytes {
        let mut header = [0; CENTRAL_HEADER_BYTES];
        directory.read_exact(&mut header)?;
        if !header.starts_with(b"PK\x01\x02") {
            return Err(wrong("its directory is damaged"));
        }
        let more: u64 = [28, 30, 32].iter().map(|at| u64::from(u16_at(&header, *at).unwrap_or_default())).sum();
        directory.seek_relative(more.cast_signed())?;
        walked += CENTRAL_HEADER_BYTES as u64 + more;
        count += 1;
        if count > entries_max as u64 {
            return Ok(count);
        }
    }
    if walked != end.directory_bytes || count != end.count {
        return Err(wrong("its end does not tell of the entries that it has"));
    }
    zip.rewind()?;
    Ok(count)
}

/// What the end of the file says of the central directory.
struct End {
    /// Where the directory ends.
    at: u64,
    directory_bytes: u64,
    count: u64,
}

fn read_end(zip: &mut File) -> io::Result<Option<End>> {
    const END_BYTES: u64 = 22;
    const COMMENT_BYTES_MAX: u64 = 65_535;
    const LOCATOR_BYTES: usize = 20;
    let length = zip.seek(SeekFrom::End(0))?;
    let tail_bytes = length.min(END_BYTES + COMMENT_BYTES_MAX + LOCATOR_BYTES as u64);
    zip.seek(SeekFrom::End(-tail_bytes.cast_signed()))?;
    let mut tail = Vec::new();
    Read::by_ref(zip).take(tail_bytes).read_to_end(&mut tail)?;
    let Some(at) = tail.windows(4).rposition(|window| window == b"PK\x05\x06") else { return Ok(None) };
    let long_record = at
        .checked_sub(LOCATOR_BYTES)
        .and_then(|from| tail.get(from..at))
        .filter(|locator| locator.starts_with(b"PK\x06\x07"))
        .and_then(|locator| u64_at(locator, 8));
    if let Some(at) = long_record {
        let mut record = [0; 48];
        zip.seek(SeekFrom::Start(at))?;
        zip.read_exact(&mut record)?;
        let long = (u64_at(&record, 32), u64_at(&record, 40));
        let (true, (Some(count), Some(directory_bytes))) = (record.starts_with(b"PK\x06\x06"), long) else {
            return Ok(None);
        };
        return Ok(Some(End { at, directory_bytes, count }));
    }
    let (Some(count), Some(directory_bytes)) = (u16_at(&tail, at + 10), u32_at(&tail, at + 12)) else {
        return Ok(None);
    };
    let at = length - tail_bytes + at as u64;
    Ok(Some(End { at, directory_bytes: directory_bytes.into(), count: count.into() }))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}
