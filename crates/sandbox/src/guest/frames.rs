//! Frames on a socket pair: the fast road between the platform and its own language packs.
//!
//! A frame is a little-endian `u32` (length of the rest), a kind byte and a body. Every length is checked before a
//! byte of the body is kept.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use base::sizes::KIB;
use bytes::{Buf, Bytes, BytesMut};
use model::limits::ANSWER_BYTES_MAX;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

const INVOKE: u8 = 1;
const READY: u8 = 2;
const INIT_ERROR: u8 = 3;
const ANSWER: u8 = 4;
const ERROR: u8 = 5;
const STARTED: u8 = 6;
const FATAL_ERROR: u8 = 7;
const TOO_LARGE: u8 = 8;

const LENGTH_BYTES: usize = 4;
const KIND_BYTES: usize = 1;
const REQUEST_ID_BYTES: usize = 36;
/// The longest frame a guest may send: kind, request id and the largest answer.
pub(crate) const FRAME_BYTES_MAX: usize = KIND_BYTES + REQUEST_ID_BYTES + ANSWER_BYTES_MAX;
const READ_BYTES: usize = 16 * KIB;

const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize);

/// What a guest says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FromGuest {
    /// The language pack's first instruction has run.
    Started,
    /// Init is done.
    Ready,
    /// Init failed: the error document.
    InitError(Bytes),
    /// The answer to an invocation.
    Answer { request: RequestText, payload: Bytes },
    /// The handler failed: the error document.
    Error { request: RequestText, document: Bytes },
    /// As `Error`, and the process ends now.
    FatalError { request: RequestText, document: Bytes },
    /// The answer was over the limit; the pack kept it to itself.
    TooLarge { request: RequestText },
}

/// A request id as a guest writes it: 36 bytes that are compared, never interpreted.
pub(crate) type RequestText = [u8; REQUEST_ID_BYTES];

/// The channel does not work as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the guest closed its channel")]
    Closed,
    #[error("the guest announced an answer of {0} bytes")]
    TooLong(usize),
    #[error("the guest sent a frame that means nothing: {0}")]
    Garbage(&'static str),
}

/// The part of an invocation that is not the event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvokeHeader<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) deadline_ms: u64,
    pub(crate) function_arn: &'a str,
    pub(crate) trace_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cognito_identity: Option<&'a str>,
}

/// The platform's end of the socket pair.
#[derive(Debug)]
pub(crate) struct Frames {
    stream: UnixStream,
    inbox: BytesMut,
}

impl Frames {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, inbox: BytesMut::new() })
    }

    /// Hands over an invocation. Not cancel-safe: a part may have been written.
    pub(crate) async fn invoke(&mut self, header: &InvokeHeader<'_>, event: &[u8]) -> Result<(), FrameError> {
        const PREFIX_BYTES: usize = LENGTH_BYTES + KIND_BYTES + LENGTH_BYTES;
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(&[0; PREFIX_BYTES]);
        serde_json::to_writer(&mut head, header).expect("a struct of strings and numbers can be written as JSON");
        let header_bytes = (head.len() - PREFIX_BYTES) as u32;
        let rest = (head.len() - LENGTH_BYTES + event.len()) as u32;
        head[..4].copy_from_slice(&rest.to_le_bytes());
        head[4] = INVOKE;
        head[5..9].copy_from_slice(&header_bytes.to_le_bytes());
        let mut unsent = Buf::chain(head.as_slice(), event);
        while unsent.has_remaining() {
            let mut parts = [IoSlice::new(&[]); 2];
            let count = unsent.chunks_vectored(&mut parts);
            match self.stream.try_write_vectored(&parts[..count]) {
                Ok(written) => unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await.map_err(|_| FrameError::Closed)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(FrameError::Closed),
            }
        }
        Ok(())
    }

    /// The next frame. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> Result<FromGuest, FrameError> {
        loop {
            if let Some(frame) = decode(&mut self.inbox)? {
                return Ok(frame);
            }
            self.inbox.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.inbox).await {
                Ok(0) | Err(_) => return Err(FrameError::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Whether a guest that has nothing to do says nothing, as it should.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.inbox.is_empty()
            && matches!(self.stream.try_read_buf(&mut self.inbox), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Returns when a guest that should be quiet says something or closes the channel.
    pub(crate) async fn disturbed(&mut self) {
        while self.is_quiet() {
            if self.stream.readable().await.is_err() {
                return;
            }
        }
    }
}

/// Takes one frame off the front, if a whole one is there.
fn decode(inbox: &mut BytesMut) -> Result<Option<FromGuest>, FrameError> {
    let Some(length) = inbox.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    if length < KIND_BYTES {
        return Err(FrameError::Garbage("without a kind"));
    }
    if inbox.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    let mut body = inbox.split_to(LENGTH_BYTES + length).freeze();
    body.advance(LENGTH_BYTES);
    let kind = body.get_u8();
    let request = |mut body: Bytes| -> Result<(RequestText, Bytes), FrameError> {
        let id = *body.first_chunk::<REQUEST_ID_BYTES>().ok_or(FrameError::Garbage("without a request id"))?;
        body.advance(REQUEST_ID_BYTES);
        Ok((id, body))
    };
    let frame = match kind {
        STARTED if body.is_empty() => FromGuest::Started,
        READY if body.is_empty() => FromGuest::Ready,
        INIT_ERROR => FromGuest::InitError(body),
        ANSWER => request(body).map(|(request, payload)| FromGuest::Answer { request, payload })?,
        ERROR => request(body).map(|(request, document)| FromGuest::Error { request, document })?,
        FATAL_ERROR => request(body).map(|(request, document)| FromGuest::FatalError { request, document })?,
        TOO_LARGE => request(body).map(|(request, _size)| FromGuest::TooLarge { request })?,
        _ => return Err(FrameError::Garbage("of an unknown kind")),
    };
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8; 36] = b"01234567-89ab-4def-8123-456789abcdef";

    fn frame(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let mut bytes = ((body.len() + 1) as u32).to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend(body);
        bytes
    }

    /// Every split of the bytes gives the same frames.
    fn check(bytes: &[u8], expected: &[FromGuest]) {
        for split in 0..=bytes.len() {
            let mut inbox = BytesMut::new();
            let mut seen = Vec::new();
            for part in [&bytes[..split], &bytes[split..]] {
                inbox.extend_from_slice(part);
                while let Some(frame) = decode(&mut inbox).expect("well-formed frames") {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, expected, "split at {split}");
        }
    }

    fn check_refused(bytes: &[u8], expected: &str) {
        let error = decode(&mut BytesMut::from(bytes)).expect_err("a frame that must be refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn frames_survive_every_split() {
        let answer = |payload: &'static [u8]| FromGuest::Answer { request: *ID, payload: Bytes::from_static(payload) };
        check(&frame(READY, &[]), &[FromGuest::Ready]);
        check(
            &[frame(STARTED, &[]), frame(READY, &[]), frame(ANSWER, &[ID, b"{}"]), frame(ANSWER, &[ID])].concat(),
            &[FromGuest::Started, FromGuest::Ready, answer(b"{}"), answer(b"")],
        );
        check(&frame(TOO_LARGE, &[ID, &[0; 8]]), &[FromGuest::TooLarge { request: *ID }]);
        check(&frame(INIT_ERROR, &[b"{}"]), &[FromGuest::InitError(Bytes::from_static(b"{}"))]);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_body_arrives() {
        check_refused(&100_000_000u32.to_le_bytes(), "the guest announced an answer of 100000000 bytes");
        check_refused(&u32::MAX.to_le_bytes(), "the guest announced an answer of 4294967295 bytes");
    }

    #[test]
    fn garbage_is_refused() {
        check_refused(&[0, 0, 0, 0], "the guest sent a frame that means nothing: without a kind");
        check_refused(&frame(99, &[]), "the guest sent a frame that means nothing: of an unknown kind");
        check_refused(&frame(READY, &[b"x"]), "the guest sent a frame that means nothing: of an unknown kind");
        check_refused(&frame(ANSWER, &[b"short"]), "the guest sent a frame that means nothing: without a request id");
    }
}
