//! Makes log events of a guest's output: lines, and framed messages that may hold newlines.

use std::mem;

use base::time::Timestamp;
use bytes::Bytes;
use memchr::memchr2;
use model::limits::{LOG_BYTES_PER_INVOCATION_MAX, LOG_LINE_BYTES_MAX};

use crate::ports::LogSink;

/// Opens a framed message; a little-endian `u32` length and the message follow. The first byte starts no UTF-8 character.
const FRAME_MARK: [u8; 4] = [0xa5, 0x5a, 0x00, 0x03];
const FRAME_HEAD_BYTES: usize = 8;
/// What an event costs beside its bytes, as CloudWatch Logs counts it (API reference, PutLogEvents).
const EVENT_OVERHEAD_BYTES: usize = 26;

/// Pure but for the sink: bytes in, events out. Keeps at most one event's bytes.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// What has arrived of the current line or message.
    event: Vec<u8>,
    /// The beginning of what may be a mark, cut off by the end of a read.
    carry: Vec<u8>,
    /// Bytes of the current message that have not arrived; `None` outside one.
    message_left: Option<usize>,
    kept_bytes: usize,
    dropped_bytes: u64,
}

impl Splitter {
    /// Takes what was read. Once the invocation's limit is reached, bytes are counted and dropped.
    pub(crate) fn feed(&mut self, bytes: &[u8], at: Timestamp, sink: &dyn LogSink) {
        if self.dropped_bytes > 0 {
            self.dropped_bytes += bytes.len() as u64;
            return;
        }
        let joined;
        let mut rest = bytes;
        if !self.carry.is_empty() {
            let mut carry = mem::take(&mut self.carry);
            carry.extend_from_slice(bytes);
            joined = carry;
            rest = &joined;
        }
        while !rest.is_empty() {
            if self.dropped_bytes > 0 {
                self.dropped_bytes += rest.len() as u64;
                return;
            }
            rest = match self.message_left {
                Some(left) => self.message(rest, left, at, sink),
                None => self.text(rest, at, sink),
            };
        }
    }

    /// Ends an invocation's output: emits what is unfinished and, if some was dropped, one line that says how much.
    /// Returns the bytes dropped.
    pub(crate) fn finish(&mut self, at: Timestamp, sink: &dyn LogSink) -> u64 {
        let carry = mem::take(&mut self.carry);
        self.push(&carry, at, sink);
        if !self.event.is_empty() {
            self.emit(at, sink);
        }
        self.message_left = None;
        self.kept_bytes = 0;
        let dropped = mem::take(&mut self.dropped_bytes);
        if dropped > 0 {
            let line = format!("[pinfold] output limit reached: {dropped} bytes dropped");
            sink.line(at, Bytes::from(line));
        }
        dropped
    }

    fn message<'a>(&mut self, rest: &'a [u8], left: usize, at: Timestamp, sink: &dyn LogSink) -> &'a [u8] {
        let (part, rest) = rest.split_at(left.min(rest.len()));
        self.push(part, at, sink);
        let left = left - part.len();
        self.message_left = (left > 0).then_some(left);
        if left == 0 {
            // A message is one event: the newline that formatters end it with is not part of it.
            if self.event.last() == Some(&b'\n') {
                self.event.pop();
            }
            self.emit(at, sink);
        }
        rest
    }

    fn text<'a>(&mut self, rest: &'a [u8], at: Timestamp, sink: &dyn LogSink) -> &'a [u8] {
        let Some(found) = memchr2(b'\n', FRAME_MARK[0], rest) else {
            self.push(rest, at, sink);
            return &[];
        };
        let (line, tail) = rest.split_at(found);
        self.push(line, at, sink);
        if tail[0] == b'\n' {
            self.emit(at, sink);
            return &tail[1..];
        }
        let compared = tail.len().min(FRAME_MARK.len());
        if tail[..compared] != FRAME_MARK[..compared] {
            self.push(&tail[..1], at, sink);
            return &tail[1..];
        }
        let Some(head) = tail.first_chunk::<FRAME_HEAD_BYTES>() else {
            self.carry = tail.to_vec();
            return &[];
        };
        if !self.event.is_empty() {
            self.emit(at, sink);
        }
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if length == 0 {
            self.emit(at, sink);
        }
        self.message_left = (length > 0).then_some(length);
        &tail[FRAME_HEAD_BYTES..]
    }

    /// Adds to the current event, which is emitted whenever it is as long as an event may be.
    fn push(&mut self, mut bytes: &[u8], at: Timestamp, sink: &dyn LogSink) {
        while !bytes.is_empty() {
            let limit = LOG_BYTES_PER_INVOCATION_MAX.saturating_sub(self.kept_bytes + self.event.len());
            if limit == 0 || self.dropped_bytes > 0 {
                self.dropped_bytes += bytes.len() as u64;
                return;
            }
            let room = (LOG_LINE_BYTES_MAX - self.event.len()).min(limit).min(bytes.len());
            self.event.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if self.event.len() == LOG_LINE_BYTES_MAX && !bytes.is_empty() {
                // A character that the cut would break moves on to the next event.
                let broken = incomplete_character(&self.event);
                let tail = self.event.split_off(self.event.len() - broken);
                self.emit(at, sink);
                self.event = tail;
            }
        }
    }

    /// An event costs more than its bytes, or a flood of empty lines would have no limit.
    fn emit(&mut self, at: Timestamp, sink: &dyn LogSink) {
        if self.event.is_empty() && self.kept_bytes >= LOG_BYTES_PER_INVOCATION_MAX {
            self.dropped_bytes += 1;
            return;
        }
        self.kept_bytes += EVENT_OVERHEAD_BYTES;
        match String::from_utf8_lossy(&self.event) {
            std::borrow::Cow::Borrowed(text) => {
                self.kept_bytes += text.len();
                sink.line(at, Bytes::copy_from_slice(text.as_bytes()));
            }
            std::borrow::Cow::Owned(text) => {
                self.kept_bytes += text.len();
                // Replacement characters are longer than what they replace.
                let mut rest = text.as_str();
                while !rest.is_empty() {
                    let (line, tail) = rest.split_at(rest.floor_char_boundary(LOG_LINE_BYTES_MAX));
                    sink.line(at, Bytes::copy_from_slice(line.as_bytes()));
                    rest = tail;
                }
            }
        }
        self.event.clear();
        if self.event.capacity() > LOG_LINE_BYTES_MAX / 8 {
            self.event = Vec::new();
        }
    }
}

/// How many bytes at the end belong to a UTF-8 character that is not whole.
fn incomplete_character(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let byte = bytes[bytes.len() - back];
        if byte & 0xc0 != 0x80 {
            let wanted = match byte {
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf7 => 4,
                _ => 1,
            };
            return if wanted > back { back } else { 0 };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl LogSink for Lines {
        fn line(&self, _at: Timestamp, text: Bytes) {
            assert!(text.len() <= LOG_LINE_BYTES_MAX, "an event of {} bytes", text.len());
            self.0.lock().push(String::from_utf8(text.to_vec()).expect("events are valid UTF-8"));
        }
    }

    fn message(text: &[u8]) -> Vec<u8> {
        [&FRAME_MARK[..], &(text.len() as u32).to_le_bytes(), text].concat()
    }

    /// Every split of the output gives the same events.
    fn check(output: &[u8], expected: &[&str]) {
        for split in 0..=output.len() {
            let lines = Lines::default();
            let mut splitter = Splitter::default();
            splitter.feed(&output[..split], Timestamp::EPOCH, &lines);
            splitter.feed(&output[split..], Timestamp::EPOCH, &lines);
            assert_eq!(splitter.finish(Timestamp::EPOCH, &lines), 0);
            assert_eq!(*lines.0.lock(), expected, "split at {split}");
        }
    }

    #[test]
    fn lines_end_at_newlines_and_at_the_end() {
        check(b"", &[]);
        check(b"one\ntwo\n", &["one", "two"]);
        check(b"one\n\ntwo", &["one", "", "two"]);
        check("gr\u{fc}n \u{e5}Z\n".as_bytes(), &["gr\u{fc}n \u{e5}Z"]);
        check(b"\xff\n", &["\u{fffd}"]);
    }

    #[test]
    fn a_message_keeps_its_newlines() {
        check(&message(b"a\nb\n"), &["a\nb"]);
        check(&[b"x".to_vec(), message(b"a\nb"), message(b""), b"y\n".to_vec()].concat(), &["x", "a\nb", "", "y"]);
    }

    #[test]
    fn what_only_looks_like_a_message_is_text() {
        check(b"\xa5\x5a\x00", &["\u{fffd}Z\0"]);
        check(b"\xa5\x5a\x00\x03\x01", &["\u{fffd}Z\0\u{3}\u{1}"]);
        check(b"\xa5\xa5\n", &["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn a_message_that_never_ends_holds_back_nothing() {
        check(&message(b"abc")[..9], &["a"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let lines = Lines::default();
        let mut splitter = Splitter::default();
        let long = format!("x{}", "\u{20ac}".repeat(LOG_LINE_BYTES_MAX / 2));
        splitter.feed(long.as_bytes(), Timestamp::EPOCH, &lines);
        splitter.finish(Timestamp::EPOCH, &lines);
        let lines = lines.0.into_inner();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines.concat(), long);
    }

    #[test]
    fn a_flood_of_empty_lines_has_a_limit() {
        let lines = Lines::default();
        let mut splitter = Splitter::default();
        let flood = vec![b'\n'; 1 << 20];
        splitter.feed(&flood, Timestamp::EPOCH, &lines);
        let dropped = splitter.finish(Timestamp::EPOCH, &lines);
        let most = LOG_BYTES_PER_INVOCATION_MAX.div_ceil(EVENT_OVERHEAD_BYTES);
        assert_eq!((lines.0.lock().len() - 1, dropped), (most, (1 << 20) - most as u64));
    }

    #[test]
    fn output_over_the_limit_is_counted_and_said_once() {
        let lines = Lines::default();
        let mut splitter = Splitter::default();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            splitter.feed(&chunk, Timestamp::EPOCH, &lines);
        }
        let dropped = splitter.finish(Timestamp::EPOCH, &lines);
        let kept: Vec<usize> = lines.0.lock().iter().filter(|line| line.starts_with('x')).map(String::len).collect();
        let (count, bytes) = (kept.len(), kept.iter().sum::<usize>());
        assert_eq!(dropped, (100 << 20) - bytes as u64);
        assert!(
            (count - 1) * EVENT_OVERHEAD_BYTES + bytes == LOG_BYTES_PER_INVOCATION_MAX,
            "{count} events, {bytes} bytes"
        );
        let last = lines.0.lock().last().cloned();
        assert_eq!(last, Some(format!("[pinfold] output limit reached: {dropped} bytes dropped")));

        splitter.feed(b"next\n", Timestamp::EPOCH, &lines);
        assert_eq!(splitter.finish(Timestamp::EPOCH, &lines), 0);
        assert_eq!(lines.0.lock().last().map(String::as_str), Some("next"));
    }
}
