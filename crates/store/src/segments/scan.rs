//! Reading segments: which files, which blocks, which entries; a bounded amount of work for each call.

use std::io;

use super::frame::{Block, Frame, Span, frames};
use super::sealed::read_block;
use super::shelf::{Segment, Shelf};
use super::{Position, SegmentPage, SegmentScan};
use crate::read::PageLimit;
use base::time::Timestamp;

/// Blocks that one call reads; then it says where to go on.
const BLOCKS_MAX: usize = 256;

/// What is left of a call's work, and what it found.
struct Progress {
    limit: PageLimit,
    blocks_left: usize,
    bytes: usize,
    page: SegmentPage,
}

pub(super) fn scan(shelf: &Shelf, scan: &SegmentScan) -> io::Result<SegmentPage> {
    let limit = scan.limit.clamped();
    let mut progress = Progress { limit, blocks_left: BLOCKS_MAX, bytes: 0, page: SegmentPage::default() };
    let Some(span) = scan.span() else { return Ok(progress.page) };
    let mut segments = shelf.within(span);
    if scan.newest_first {
        segments.reverse();
    }
    for (first, segment) in segments {
        match scan_segment(shelf, first, &segment, scan, span, &mut progress) {
            Ok(true) => {}
            Ok(false) => break,
            // Deleted since we looked, because it was too old.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // What a damaged segment held is lost; everything else can still be read.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(first, "a sealed segment is damaged; some of its entries are not shown");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(progress.page)
}

/// Whether to go on with the next segment.
fn scan_segment(
    shelf: &Shelf,
    first: u64,
    segment: &Segment,
    scan: &SegmentScan,
    span: Span,
    progress: &mut Progress,
) -> io::Result<bool> {
    let (mut blocks, file) = match segment {
        Segment::Raw(raw) => (raw.with_index(|index| index.blocks_of(&scan.streams)), None),
        Segment::Sealed(sealed) => (shelf.index(first, sealed)?.blocks_of(&scan.streams), Some(sealed.file()?)),
    };
    blocks.retain(|block| block.span().meets(span));
    if scan.newest_first {
        blocks.reverse();
    }
    for block in &blocks {
        if progress.blocks_left == 0 {
            // Before this block: everything up to its neighbour was looked at.
            let next = if scan.newest_first { block.last.saturating_add(1) } else { block.first - 1 };
            progress.page.next = Some(Position(next));
            return Ok(false);
        }
        progress.blocks_left -= 1;
        let bytes = match (segment, &file) {
            (Segment::Raw(raw), _) => raw.read(block)?,
            (Segment::Sealed(_), Some(file)) => read_block(file, block)?,
            (Segment::Sealed(_), None) => continue,
        };
        if !take(&bytes, scan, span, progress) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether there is room for more.
fn take(bytes: &[u8], scan: &SegmentScan, span: Span, progress: &mut Progress) -> bool {
    let wanted = |frame: &Frame<'_>| {
        span.first <= frame.position
            && frame.position <= span.last
            && span.from <= frame.at
            && frame.at <= span.to
            && scan.streams.contains(frame.stream)
    };
    if scan.newest_first {
        let found: Vec<Frame<'_>> = frames(bytes).filter(wanted).collect();
        found.into_iter().rev().all(|frame| progress.push(&frame))
    } else {
        frames(bytes).filter(wanted).all(|frame| progress.push(&frame))
    }
}

impl Progress {
    fn push(&mut self, frame: &Frame<'_>) -> bool {
        self.bytes += frame.length;
        let full = self.page.entries.len() >= self.limit.items || self.bytes > self.limit.bytes;
        if let Some(last) = self.page.entries.last()
            && full
        {
            self.page.next = Some(last.position);
            return false;
        }
        self.page.entries.push(frame.to_entry());
        true
    }
}

impl SegmentScan {
    /// Both ends included; `None` if nothing can lie within.
    fn span(&self) -> Option<Span> {
        let to = Timestamp::from_micros(self.to.as_micros().checked_sub(1)?);
        let (first, last) = match (self.after, self.newest_first) {
            (None, _) => (0, u64::MAX),
            (Some(after), false) => (after.0.checked_add(1)?, u64::MAX),
            (Some(before), true) => (0, before.0.checked_sub(1)?),
        };
        (self.from <= to).then_some(Span { first, last, from: self.from, to })
    }
}

impl Block {
    fn span(&self) -> Span {
        Span { first: self.first, last: self.last, from: self.from, to: self.to }
    }
}
