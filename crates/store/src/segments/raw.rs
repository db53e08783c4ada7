//! A raw segment: frames one after another, appended by the writer, and checked when the file is opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use base::sizes::KIB;
use parking_lot::RwLock;

use super::frame::{
    BODY_HEADER_BYTES, Block, FRAME_HEADER_BYTES, Index, body_bytes, claimed_position, frames, read_frame,
};

/// What every raw file begins with.
const MAGIC: &[u8; 8] = b"PFSEGR1\n";
/// Read at once when a file is opened again.
const READ_BYTES: usize = 256 * KIB;
/// A frame without name and payload.
const HEADERS_BYTES: usize = FRAME_HEADER_BYTES + BODY_HEADER_BYTES;

/// An open raw file. Only its writer changes it.
#[derive(Debug)]
pub(super) struct RawSegment {
    file: File,
    content: RwLock<Content>,
}

/// What of the file is known to be whole.
#[derive(Debug)]
struct Content {
    index: Index,
    length: u64,
}

/// Bytes of a file that were not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// Before something that is whole.
    pub(super) lost: u64,
    /// At the end.
    pub(super) cut: u64,
}

impl RawSegment {
    /// A new file; it is there after a crash once it and its folder are synced.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        if let Err(error) = file.write_all(MAGIC) {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        let content = Content { index: Index::default(), length: MAGIC.len() as u64 };
        Ok(Self { file, content: RwLock::new(content) })
    }

    /// Opens a file that an earlier process wrote. What is damaged is passed over where a whole frame with one of these
    /// `positions` follows, and cut off where none does.
    pub(super) fn recover(path: &Path, positions: Range<u64>) -> io::Result<(Self, Damage)> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let found = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(READ_BYTES, &file);
        let mut magic = [0; MAGIC.len()];
        let is_marked = read_whole(&mut reader, &mut magic)? && magic == *MAGIC;
        let mut damage = Damage { lost: if is_marked { 0 } else { MAGIC.len() as u64 }, cut: 0 };
        let mut content = Content { index: Index::default(), length: MAGIC.len() as u64 };
        let (mut bytes, mut next) = (Vec::new(), 0);
        loop {
            // A reader must be able to rely on the order, whatever a disk may have made of it.
            let is_claimed = next_frame(&mut reader, &mut bytes)?;
            let frame = if is_claimed { read_frame(&bytes).filter(|frame| frame.position >= next) } else { None };
            if let Some(frame) = frame {
                content.index.push(content.length, &frame);
                content.length += frame.length as u64;
                next = frame.position.saturating_add(1);
                continue;
            }
            let expected = next.max(positions.start)..positions.end;
            let Some(whole) = find_frame(&file, content.length, found, &expected)? else { break };
            damage.lost += whole - content.length;
            content.length = whole;
            reader.seek(SeekFrom::Start(whole))?;
        }
        if content.index.blocks.is_empty() && !is_marked {
            damage = Damage { lost: 0, cut: found };
            file.set_len(0)?;
        } else if found > content.length {
            damage.cut = found - content.length;
            file.set_len(content.length)?;
        }
        if !is_marked {
            file.write_all_at(MAGIC, 0)?;
        }
        Ok((Self { file, content: RwLock::new(content) }, damage))
    }

    /// Writes whole frames after the last one; then they can be read. What a failure leaves behind is cut off.
    pub(super) fn append(&self, written: &[u8]) -> io::Result<()> {
        let offset = self.length();
        if let Err(error) = self.file.write_all_at(written, offset) {
            self.file.set_len(offset)?;
            return Err(error);
        }
        let mut content = self.content.write();
        for frame in frames(written) {
            let at = content.length;
            content.index.push(at, &frame);
            content.length += frame.length as u64;
        }
        Ok(())
    }

    /// What was appended before survives a power cut from now on.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn length(&self) -> u64 {
        self.content.read().length
    }

    pub(super) fn streams(&self) -> usize {
        self.content.read().index.streams.len()
    }

    pub(super) fn with_index<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        ask(&self.content.read().index)
    }

    /// The frames of a block.
    pub(super) fn read(&self, block: &Block) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; block.bytes as usize];
        self.file.read_exact_at(&mut bytes, block.offset)?;
        Ok(bytes)
    }
}

/// Where the next whole frame begins after the damaged one at `from`, in a file of this length.
fn find_frame(file: &File, from: u64, length: u64, positions: &Range<u64>) -> io::Result<Option<u64>> {
    // Its length, where that is not what is damaged, leads past its payload, which may look like anything.
    let mut header = [0; FRAME_HEADER_BYTES];
    if from + header.len() as u64 <= length {
        file.read_exact_at(&mut header, from)?;
        let behind = body_bytes(&header).map(|body| from + (FRAME_HEADER_BYTES + body) as u64);
        if let Some(behind) = behind
            && read_whole_frame(file, behind, length, positions)?.is_some()
        {
            return Ok(Some(behind));
        }
    }
    let mut bytes = Vec::new();
    let mut at = from + 1;
    while at < length {
        bytes.resize((length - at).min((READ_BYTES + HEADERS_BYTES) as u64) as usize, 0);
        file.read_exact_at(&mut bytes, at)?;
        for place in 0..bytes.len().min(READ_BYTES) {
            let claimed = claimed_position(&bytes[place..]);
            if !claimed.is_some_and(|position| positions.contains(&position)) {
                continue;
            }
            let begin = at + place as u64;
            let Some((position, end)) = read_whole_frame(file, begin, length, positions)? else { continue };
            // A payload may hold frames, though none that fits between those around its own: so another must follow.
            let later = position + 1..positions.end;
            if end == length || read_whole_frame(file, end, length, &later)?.is_some() {
                return Ok(Some(begin));
            }
        }
        at += READ_BYTES as u64;
    }
    Ok(None)
}

/// The position and the end of the frame that begins here, if it is whole and has one of these positions.
fn read_whole_frame(file: &File, at: u64, length: u64, positions: &Range<u64>) -> io::Result<Option<(u64, u64)>> {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    if at + FRAME_HEADER_BYTES as u64 > length {
        return Ok(None);
    }
    file.read_exact_at(&mut bytes, at)?;
    let Some(body) = body_bytes(&bytes) else { return Ok(None) };
    let end = at + (FRAME_HEADER_BYTES + body) as u64;
    if end > length {
        return Ok(None);
    }
    bytes.resize(FRAME_HEADER_BYTES + body, 0);
    file.read_exact_at(&mut bytes[FRAME_HEADER_BYTES..], at + FRAME_HEADER_BYTES as u64)?;
    let frame = read_frame(&bytes).filter(|frame| positions.contains(&frame.position));
    Ok(frame.map(|frame| (frame.position, end)))
}

/// Reads what the next frame claims to be; `false` at the end and before an impossible length.
fn next_frame(reader: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.resize(FRAME_HEADER_BYTES, 0);
    if !read_whole(reader, bytes)? {
        return Ok(false);
    }
    let Some(body) = body_bytes(bytes) else { return Ok(false) };
    bytes.resize(FRAME_HEADER_BYTES + body, 0);
    read_whole(reader, &mut bytes[FRAME_HEADER_BYTES..])
}

fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
