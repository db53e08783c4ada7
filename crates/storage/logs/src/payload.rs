//! How an event lies in the segments: one byte for the form, when it arrived, its message.

use base::time::Timestamp;
use bytes::{BufMut, Bytes, BytesMut};

/// Arrived when it happened, as functions' lines do: the message follows.
const FORM_AT_ONCE: u8 = 1;
/// Eight bytes of arrival (microseconds since the Unix epoch, little-endian), then the message.
const FORM_LATER: u8 = 2;

/// What a payload holds beside the message, at most.
pub(crate) const HEAD_BYTES_MAX: usize = 9;

/// Appends the payload of an event to the buffer.
pub(crate) fn write(buffer: &mut BytesMut, at: Timestamp, ingested: Timestamp, message: &[u8]) {
    if at == ingested {
        buffer.put_u8(FORM_AT_ONCE);
    } else {
        buffer.put_u8(FORM_LATER);
        buffer.put_u64_le(ingested.as_micros());
    }
    buffer.put_slice(message);
}

/// When the event arrived, and its message; nothing, if a newer version wrote another form.
pub(crate) fn read(at: Timestamp, payload: &Bytes) -> Option<(Timestamp, Bytes)> {
    match *payload.first()? {
        FORM_AT_ONCE => Some((at, payload.slice(1..))),
        FORM_LATER => {
            let (arrival, _) = payload[1..].split_first_chunk::<8>()?;
            Some((Timestamp::from_micros(u64::from_le_bytes(*arrival)), payload.slice(HEAD_BYTES_MAX..)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_back() {
        let (early, late) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        for (ingested, message) in [(early, "now"), (late, "later"), (late, "")] {
            let mut buffer = BytesMut::new();
            write(&mut buffer, early, ingested, message.as_bytes());
            let payload = buffer.freeze();
            assert_eq!(read(early, &payload), Some((ingested, Bytes::from_static(message.as_bytes()))));
        }
        for other in [&b""[..], b"\x02short", b"\x03newer"] {
            assert_eq!(read(early, &Bytes::from_static(other)), None);
        }
    }
}
