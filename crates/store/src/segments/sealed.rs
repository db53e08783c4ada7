//! A sealed segment: compressed blocks, then their index, then a trailer of fixed size that finds it.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use base::time::Timestamp;
use bytes::Bytes;

use super::frame::{Block, Index, Span};
use super::raw::RawSegment;
use crate::disk::{create_file, open_file, sync_dir};

/// What every sealed file ends with.
const MAGIC: &[u8; 8] = b"PFSEGS1\n";
/// Offset and length of the index, its checksum, its length as it was; first and last position, first and last time; a
/// checksum of all that, and the magic.
const TRAILER_BYTES: usize = 8 + 4 + 4 + 4 + 32 + 4 + 8;
/// No index is larger; a damaged length must not make us ask for more memory.
const INDEX_BYTES_MAX: u32 = 64 << 20;

/// What is known of a sealed file without reading its index.
#[derive(Debug, Clone)]
pub(super) struct SealedSegment {
    path: PathBuf,
    pub(super) span: Span,
    pub(super) file_bytes: u64,
    index_at: u64,
    index_stored: u32,
    index_bytes: u32,
    index_checksum: u32,
}

impl SealedSegment {
    /// Writes the compressed form of a raw segment, durably, beside it; `None` if it holds nothing.
    pub(super) fn write(raw: &RawSegment, path: &Path) -> io::Result<Option<Self>> {
        let Some(span) = raw.with_index(Index::span) else { return Ok(None) };
        let new = path.with_added_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = write_new(raw, &new, span).and_then(|()| fs::rename(&new, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        if let Some(folder) = path.parent() {
            sync_dir(folder)?;
        }
        Self::open(path).map(Some)
    }

    /// Reads and checks the trailer.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open_file(path)?;
        let file_bytes = file.metadata()?.len();
        let at = file_bytes.checked_sub(TRAILER_BYTES as u64).ok_or_else(damaged)?;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(&mut trailer, at)?;
        let (content, rest) = trailer.split_at(TRAILER_BYTES - 12);
        let mut fields = Fields(content);
        let segment = Self {
            path: path.to_owned(),
            file_bytes,
            index_at: fields.u64()?,
            index_stored: fields.u32()?,
            index_checksum: fields.u32()?,
            index_bytes: fields.u32()?,
            span: Span { first: fields.u64()?, last: fields.u64()?, from: fields.time()?, to: fields.time()? },
        };
        let whole = rest[..4] == crc32fast::hash(content).to_le_bytes() && rest[4..] == *MAGIC;
        let fits = segment.index_at.checked_add(segment.index_stored.into()) == Some(at);
        if whole && fits && segment.index_bytes <= INDEX_BYTES_MAX { Ok(segment) } else { Err(damaged()) }
    }

    /// Reads the index.
    pub(super) fn index(&self) -> io::Result<Index> {
        let file = open_file(&self.path)?;
        let bytes = read(&file, self.index_at, self.index_stored, self.index_bytes, self.index_checksum)?;
        decode_index(&bytes)
    }

    /// Opens the file for its blocks.
    pub(super) fn file(&self) -> io::Result<File> {
        open_file(&self.path)
    }
}

/// The frames of a block.
pub(super) fn read_block(file: &File, block: &Block) -> io::Result<Vec<u8>> {
    read(file, block.offset, block.stored_bytes, block.bytes, block.checksum)
}

fn read(file: &File, offset: u64, stored: u32, bytes: u32, checksum: u32) -> io::Result<Vec<u8>> {
    let mut compressed = vec![0; stored as usize];
    file.read_exact_at(&mut compressed, offset)?;
    if crc32fast::hash(&compressed) != checksum {
        return Err(damaged());
    }
    lz4_flex::block::decompress(&compressed, bytes as usize).map_err(|_| damaged())
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a sealed segment is damaged")
}

fn write_new(raw: &RawSegment, path: &Path, span: Span) -> io::Result<()> {
    let mut file = BufWriter::new(create_file(path)?);
    let mut index = raw.with_index(Index::clone);
    let mut offset = 0;
    for block in &mut index.blocks {
        let compressed = lz4_flex::block::compress(&raw.read(block)?);
        block.offset = offset;
        block.stored_bytes = length(&compressed)?;
        block.checksum = crc32fast::hash(&compressed);
        offset += compressed.len() as u64;
        file.write_all(&compressed)?;
    }
    let plain = encode_index(&index)?;
    let compressed = lz4_flex::block::compress(&plain);
    file.write_all(&compressed)?;
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    trailer.extend_from_slice(&offset.to_le_bytes());
    trailer.extend_from_slice(&length(&compressed)?.to_le_bytes());
    trailer.extend_from_slice(&crc32fast::hash(&compressed).to_le_bytes());
    trailer.extend_from_slice(&length(&plain)?.to_le_bytes());
    for number in [span.first, span.last, span.from.as_micros(), span.to.as_micros()] {
        trailer.extend_from_slice(&number.to_le_bytes());
    }
    trailer.extend_from_slice(&crc32fast::hash(&trailer).to_le_bytes());
    trailer.extend_from_slice(MAGIC);
    file.write_all(&trailer)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

/// Blocks, then streams with the numbers of their blocks; each list after its length.
fn encode_index(index: &Index) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let push = |bytes: &mut Vec<u8>, number: u32| bytes.extend_from_slice(&number.to_le_bytes());
    push(&mut bytes, u32::try_from(index.blocks.len()).map_err(io::Error::other)?);
    for block in &index.blocks {
        bytes.extend_from_slice(&block.offset.to_le_bytes());
        for number in [block.stored_bytes, block.bytes, block.checksum] {
            push(&mut bytes, number);
        }
        for number in [block.first, block.last, block.from.as_micros(), block.to.as_micros()] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    push(&mut bytes, u32::try_from(index.streams.len()).map_err(io::Error::other)?);
    for (stream, blocks) in &index.streams {
        push(&mut bytes, length(stream)?);
        bytes.extend_from_slice(stream);
        push(&mut bytes, u32::try_from(blocks.len()).map_err(io::Error::other)?);
        for &block in blocks {
            push(&mut bytes, block);
        }
    }
    Ok(bytes)
}

fn decode_index(bytes: &[u8]) -> io::Result<Index> {
    let mut fields = Fields(bytes);
    let mut index = Index::default();
    for _ in 0..fields.u32()? {
        index.blocks.push(Block {
            offset: fields.u64()?,
            stored_bytes: fields.u32()?,
            bytes: fields.u32()?,
            checksum: fields.u32()?,
            first: fields.u64()?,
            last: fields.u64()?,
            from: fields.time()?,
            to: fields.time()?,
        });
    }
    for _ in 0..fields.u32()? {
        let length = fields.u32()?;
        let stream = Bytes::copy_from_slice(fields.bytes(length as usize)?);
        let blocks = (0..fields.u32()?).map(|_| fields.u32()).collect::<io::Result<_>>()?;
        index.streams.insert(stream, blocks);
    }
    Ok(index)
}

/// Reads numbers one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let taken = self.bytes(N)?;
        Ok(taken.try_into().expect("as many bytes as were asked for"))
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> io::Result<Timestamp> {
        self.u64().map(Timestamp::from_micros)
    }
}
