//! A raw segment: frames one after another, appended by the writer, cut at the last whole one when it is opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use base::sizes::KIB;
use parking_lot::RwLock;

use super::frame::{Block, FRAME_HEADER_BYTES, Index, body_bytes, frames, read_frame};

/// What every raw file begins with.
const MAGIC: &[u8; 8] = b"PFSEGR1\n";
/// Read at once when a file is opened again.
const READ_BYTES: usize = 256 * KIB;

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

    /// Opens a file that an earlier process wrote, and cuts what is not whole. Returns the bytes cut.
    pub(super) fn recover(path: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let found = file.metadata()?.len();
        let mut content = Content { index: Index::default(), length: 0 };
        let mut reader = BufReader::with_capacity(READ_BYTES, &file);
        let mut magic = [0; MAGIC.len()];
        if read_whole(&mut reader, &mut magic)? && magic == *MAGIC {
            content.length = MAGIC.len() as u64;
            let mut bytes = Vec::new();
            while next_frame(&mut reader, &mut bytes)? {
                // A reader must be able to rely on the order, whatever a disk may have made of it.
                let Some(frame) = read_frame(&bytes) else { break };
                if content.index.blocks.last().is_some_and(|block| frame.position <= block.last) {
                    break;
                }
                content.index.push(content.length, &frame);
                content.length += frame.length as u64;
            }
        }
        let cut = found - content.length;
        if content.length == 0 {
            file.set_len(0)?;
            file.write_all_at(MAGIC, 0)?;
            content.length = MAGIC.len() as u64;
        } else if cut > 0 {
            file.set_len(content.length)?;
        }
        Ok((Self { file, content: RwLock::new(content) }, cut))
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
