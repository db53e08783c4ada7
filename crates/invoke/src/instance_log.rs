//! The log of one instance: passes lines on and keeps the last of the present invocation for its caller.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::time::Timestamp;
use bytes::Bytes;
use model::limits::LOG_TAIL_BYTES;
use parking_lot::Mutex;
use sandbox::LogSink;

use crate::ports::LogStream;

/// Both a sink for the guest's lines and the place for the platform's own.
pub(crate) struct InstanceLog {
    stream: Arc<dyn LogStream>,
    /// `None` while nobody wants the tail.
    tail: Mutex<Option<Tail>>,
    /// Whether what is kept is of the init, and belongs before the first invocation.
    is_init: AtomicBool,
}

#[derive(Default)]
struct Tail {
    lines: VecDeque<Bytes>,
    bytes: usize,
}

impl InstanceLog {
    pub(crate) fn new(stream: Arc<dyn LogStream>) -> Self {
        Self { stream, tail: Mutex::new(None), is_init: AtomicBool::new(false) }
    }

    /// What the init says from now on is kept for the first invocation.
    pub(crate) fn keep_init(&self) {
        self.is_init.store(true, Ordering::Relaxed);
        *self.tail.lock() = Some(Tail::default());
    }

    /// An invocation begins: from now on the last [`LOG_TAIL_BYTES`] are kept, if they are wanted.
    pub(crate) fn begin_tail(&self, wanted: bool) {
        let is_init = self.is_init.swap(false, Ordering::Relaxed);
        if wanted && !is_init {
            *self.tail.lock() = Some(Tail::default());
        } else if is_init && !wanted {
            *self.tail.lock() = None;
        }
    }

    /// What was kept, and no more from now on.
    pub(crate) fn end_tail(&self) -> Bytes {
        self.tail.lock().take().map(Tail::into_bytes).unwrap_or_default()
    }

    /// Writes lines of the platform.
    pub(crate) fn platform(&self, at: Timestamp, lines: impl IntoIterator<Item = String>) {
        let lines: Vec<(Timestamp, Bytes)> = lines.into_iter().map(|line| (at, Bytes::from(line))).collect();
        if let Some(tail) = self.tail.lock().as_mut() {
            for (_, line) in &lines {
                tail.push(line.clone());
            }
        }
        self.stream.lines(&lines);
    }
}

impl LogSink for InstanceLog {
    /// Events end with a newline, as CloudWatch shows what a runtime prints.
    fn line(&self, at: Timestamp, text: Bytes) {
        let text = match text.last() {
            Some(b'\n') => text,
            _ => Bytes::from([&text[..], b"\n"].concat()),
        };
        if let Some(tail) = self.tail.lock().as_mut() {
            tail.push(text.clone());
        }
        self.stream.lines(&[(at, text)]);
    }
}

impl Tail {
    fn push(&mut self, line: Bytes) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while let Some(first) = self.lines.front() {
            if self.bytes - first.len() < LOG_TAIL_BYTES {
                break;
            }
            self.bytes -= first.len();
            self.lines.pop_front();
        }
    }

    fn into_bytes(self) -> Bytes {
        let mut text = Vec::with_capacity(self.bytes);
        for line in &self.lines {
            text.extend_from_slice(line);
        }
        let surplus = text.len().saturating_sub(LOG_TAIL_BYTES);
        Bytes::from(text).slice(surplus..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;
    impl LogStream for Nowhere {
        fn lines(&self, _: &[(Timestamp, Bytes)]) {}
    }

    #[test]
    fn the_tail_is_the_last_four_kilobytes() {
        let log = InstanceLog::new(Arc::new(Nowhere));
        log.line(Timestamp::EPOCH, Bytes::from_static(b"before"));
        log.begin_tail(true);
        log.platform(Timestamp::EPOCH, ["START\n".to_owned()]);
        for number in 0..2000 {
            log.line(Timestamp::EPOCH, Bytes::from(format!("line {number}")));
        }
        log.platform(Timestamp::EPOCH, ["END\n".to_owned()]);
        let tail = log.end_tail();
        assert_eq!(tail.len(), LOG_TAIL_BYTES);
        assert!(tail.ends_with(b"line 1999\nEND\n"));
        log.begin_tail(true);
        log.line(Timestamp::EPOCH, Bytes::from_static(b"short"));
        assert_eq!(&log.end_tail()[..], b"short\n");
        assert!(log.end_tail().is_empty());
    }

    #[test]
    fn what_the_init_said_stands_before_the_first_invocation_only() {
        let log = InstanceLog::new(Arc::new(Nowhere));
        log.platform(Timestamp::EPOCH, ["INIT_START\n".to_owned()]);
        log.keep_init();
        log.line(Timestamp::EPOCH, Bytes::from_static(b"init"));
        log.begin_tail(true);
        log.line(Timestamp::EPOCH, Bytes::from_static(b"first"));
        assert_eq!(&log.end_tail()[..], b"init\nfirst\n");
        log.begin_tail(true);
        log.line(Timestamp::EPOCH, Bytes::from_static(b"second"));
        assert_eq!(&log.end_tail()[..], b"second\n");

        log.keep_init();
        log.line(Timestamp::EPOCH, Bytes::from_static(b"init"));
        log.begin_tail(false);
        log.line(Timestamp::EPOCH, Bytes::from_static(b"unwanted"));
        assert!(log.end_tail().is_empty());
    }
}
