//! One entry as bytes, and the index of a run of them.

use std::collections::BTreeMap;

use base::time::Timestamp;
use bytes::Bytes;

use super::{Entry, Position, Streams};

/// Length of the body and its checksum.
pub(super) const FRAME_HEADER_BYTES: usize = 8;
/// Position, time and the length of the stream's name.
pub(super) const BODY_HEADER_BYTES: usize = 18;
/// A block is closed when it holds so much: what a scan reads at least.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// An entry within a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) position: u64,
    pub(super) at: Timestamp,
    pub(super) stream: &'a [u8],
    pub(super) payload: &'a [u8],
    /// With its header.
    pub(super) length: usize,
}

/// Neighbouring frames that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// Its length in the file.
    pub(super) stored_bytes: u32,
    /// Its length as frames.
    pub(super) bytes: u32,
    /// Of what is stored; not used in raw files, whose frames have their own.
    pub(super) checksum: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// The blocks of one file, and which streams are in which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) blocks: Vec<Block>,
    pub(super) streams: BTreeMap<Bytes, Vec<u32>>,
}

/// What of a file may concern a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

pub(super) fn frame_bytes(stream: &[u8], payload: &[u8]) -> usize {
    FRAME_HEADER_BYTES + BODY_HEADER_BYTES + stream.len() + payload.len()
}

/// Appends a frame: length and CRC-32 of the body; position, time in microseconds, length of the stream's name, the name,
/// the payload; numbers little-endian.
pub(super) fn push_frame(buffer: &mut Vec<u8>, position: u64, at: Timestamp, stream: &[u8], payload: &[u8]) {
    let start = buffer.len();
    let length = u32::try_from(BODY_HEADER_BYTES + stream.len() + payload.len()).expect("an entry is measured before");
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&position.to_le_bytes());
    buffer.extend_from_slice(&at.as_micros().to_le_bytes());
    let name = u16::try_from(stream.len()).expect("a stream's name is measured before");
    buffer.extend_from_slice(&name.to_le_bytes());
    buffer.extend_from_slice(stream);
    buffer.extend_from_slice(payload);
    let checksum = crc32fast::hash(&buffer[start + FRAME_HEADER_BYTES..]);
    buffer[start + 4..start + FRAME_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// The frame at the beginning; `None` if it is not whole or not what was written.
pub(super) fn read_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let length = body_bytes(bytes)?;
    let checksum = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let body = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length)?;
    if crc32fast::hash(body) != checksum {
        return None;
    }
    let (position, rest) = body.split_first_chunk::<8>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (name, rest) = rest.split_first_chunk::<2>()?;
    let (stream, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name)))?;
    Some(Frame {
        position: u64::from_le_bytes(*position),
        at: Timestamp::from_micros(u64::from_le_bytes(*at)),
        stream,
        payload,
        length: FRAME_HEADER_BYTES + length,
    })
}

/// The length that the frame at the beginning claims for its body.
pub(super) fn body_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    (BODY_HEADER_BYTES..=super::FRAME_BODY_BYTES_MAX).contains(&length).then_some(length)
}

/// The position that the frame at the beginning claims, where its lengths are possible at all: no proof, but cheap.
pub(super) fn claimed_position(bytes: &[u8]) -> Option<u64> {
    let body = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + BODY_HEADER_BYTES)?;
    let name = usize::from(u16::from_le_bytes(*body.last_chunk::<2>()?));
    let fits = name <= super::STREAM_BYTES_MAX && BODY_HEADER_BYTES + name <= body_bytes(bytes)?;
    fits.then_some(u64::from_le_bytes(*body.first_chunk::<8>()?))
}

/// The frames of a block.
pub(super) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let frame = read_frame(bytes)?;
        bytes = &bytes[frame.length..];
        Some(frame)
    })
}

impl Frame<'_> {
    pub(super) fn to_entry(self) -> Entry {
        Entry {
            stream: Bytes::copy_from_slice(self.stream),
            at: self.at,
            position: Position(self.position),
            payload: Bytes::copy_from_slice(self.payload),
        }
    }
}

impl Index {
    /// Adds the next frame of the file, which begins at `offset`.
    pub(super) fn push(&mut self, offset: u64, frame: &Frame<'_>) {
        let length = u32::try_from(frame.length).expect("a frame is measured before");
        match self.blocks.last_mut() {
            // What is damaged lies between blocks, never within one.
            Some(block) if (block.bytes as usize) < BLOCK_BYTES && block.offset + u64::from(block.bytes) == offset => {
                block.bytes += length;
                block.stored_bytes += length;
                block.last = frame.position;
                block.from = block.from.min(frame.at);
                block.to = block.to.max(frame.at);
            }
            _ => self.blocks.push(Block {
                offset,
                stored_bytes: length,
                bytes: length,
                checksum: 0,
                first: frame.position,
                last: frame.position,
                from: frame.at,
                to: frame.at,
            }),
        }
        let block = u32::try_from(self.blocks.len() - 1).expect("a file has far fewer blocks");
        if let Some(blocks) = self.streams.get_mut(frame.stream) {
            if blocks.last() != Some(&block) {
                blocks.push(block);
            }
        } else {
            self.streams.insert(Bytes::copy_from_slice(frame.stream), vec![block]);
        }
    }

    /// The blocks that may hold entries of these streams, in order.
    pub(super) fn blocks_of(&self, streams: &Streams) -> Vec<Block> {
        let numbers: Vec<u32> = match streams {
            Streams::One(stream) => self.streams.get(stream).cloned().unwrap_or_default(),
            Streams::Prefix(prefix) if prefix.is_empty() => return self.blocks.clone(),
            Streams::Prefix(prefix) => {
                let begin = self.streams.range(prefix.clone()..);
                let of_prefix = begin.take_while(|(stream, _)| stream.starts_with(prefix));
                let mut numbers: Vec<u32> = of_prefix.flat_map(|(_, blocks)| blocks).copied().collect();
                numbers.sort_unstable();
                numbers.dedup();
                numbers
            }
        };
        numbers.into_iter().filter_map(|number| self.blocks.get(number as usize).cloned()).collect()
    }

    /// `None` while it is empty.
    pub(super) fn span(&self) -> Option<Span> {
        let (first, last) = (self.blocks.first()?, self.blocks.last()?);
        Some(Span {
            first: first.first,
            last: last.last,
            from: self.blocks.iter().map(|block| block.from).min()?,
            to: self.blocks.iter().map(|block| block.to).max()?,
        })
    }
}
