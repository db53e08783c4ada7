//! Paging tokens and event ids: opaque to callers, checked when they come back.
//!
//! A token ends with a checksum over its place and over what was asked, so that a mistyped one, or one of another group,
//! stream or search, is refused instead of silently answering from a wrong place.

use crate::types::LogsError;

/// A place between events, in the order of their times, then of their arrival: before the event with just this time and
/// position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Microseconds since the Unix epoch.
    pub(crate) at: u64,
    /// Order of arrival.
    pub(crate) position: u64,
}

impl Place {
    /// After every event.
    pub(crate) const END: Self = Self { at: u64::MAX, position: u64::MAX };

    /// Just before the first event of this time.
    pub(crate) fn from_micros(at: u64) -> Self {
        Self { at, position: 0 }
    }

    /// The place just after the event that is here.
    pub(crate) fn after(self) -> Self {
        match (self.position.checked_add(1), self.at.checked_add(1)) {
            (Some(position), _) => Self { at: self.at, position },
            (None, Some(at)) => Self::from_micros(at),
            (None, None) => Self::END,
        }
    }

    /// The event's id: as long as the service's, and in the same order.
    pub(crate) fn event_id(self) -> String {
        format!("{:020}{:036}", self.at, self.position)
    }
}

/// Which way a token of GetLogEvents leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To later events.
    Forward,
    /// To earlier events.
    Backward,
}

/// What a token belongs to, as one number (FNV-1a, 64 bits); each part is ended by a zero.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().copied().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

fn invalid() -> LogsError {
    LogsError::Invalid("The specified nextToken is invalid.".to_owned())
}

/// `f/DIGITS/s` or `b/DIGITS/s`, as the service's own look.
pub(crate) fn stream_token(direction: Direction, place: Place, asked: u64) -> String {
    let letter = match direction {
        Direction::Forward => 'f',
        Direction::Backward => 'b',
    };
    format!("{letter}/{:020}{:020}{:010}/s", place.at, place.position, checksum(place, asked))
}

/// Reads what [`stream_token`] wrote.
pub(crate) fn read_stream_token(token: &str, asked: u64) -> Result<(Direction, Place), LogsError> {
    let (direction, rest) = match token.split_at_checked(2) {
        Some(("f/", rest)) => (Direction::Forward, rest),
        Some(("b/", rest)) => (Direction::Backward, rest),
        _ => return Err(invalid()),
    };
    let place = read_place(rest.strip_suffix("/s").ok_or_else(invalid)?, asked)?;
    Ok((direction, place))
}

/// A token of FilterLogEvents.
pub(crate) fn search_token(place: Place, asked: u64) -> String {
    format!("{:020}{:020}{:010}", place.at, place.position, checksum(place, asked))
}

/// Reads what [`search_token`] wrote.
pub(crate) fn read_search_token(token: &str, asked: u64) -> Result<Place, LogsError> {
    read_place(token, asked)
}

fn read_place(digits: &str, asked: u64) -> Result<Place, LogsError> {
    if digits.len() != 50 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let number = |part: &str| part.parse::<u64>().map_err(|_| invalid());
    let place = Place { at: number(&digits[..20])?, position: number(&digits[20..40])? };
    if number(&digits[40..])? != u64::from(checksum(place, asked)) {
        return Err(invalid());
    }
    Ok(place)
}

fn checksum(place: Place, asked: u64) -> u32 {
    let parts = [place.at.to_be_bytes(), place.position.to_be_bytes(), asked.to_be_bytes()];
    (fingerprint(parts.iter().map(<[u8; 8]>::as_slice)) >> 32) as u32
}

/// A token of a list of names: the last name shown, and where needed a number that orders before it.
pub(crate) fn list_token(number: u64, name: &str, asked: u64) -> String {
    let mut text = format!("{:08x}{number:016x}", list_checksum(number, name, asked));
    for byte in name.bytes() {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Reads what [`list_token`] wrote.
pub(crate) fn read_list_token(token: &str, asked: u64) -> Result<(u64, String), LogsError> {
    if !token.is_ascii() || token.len() < 24 || !token.len().is_multiple_of(2) {
        return Err(invalid());
    }
    let sum = u32::from_str_radix(&token[..8], 16).map_err(|_| invalid())?;
    let number = u64::from_str_radix(&token[8..24], 16).map_err(|_| invalid())?;
    let byte = |at: usize| u8::from_str_radix(&token[at..at + 2], 16);
    let bytes: Vec<u8> = (24..token.len()).step_by(2).map(byte).collect::<Result<_, _>>().map_err(|_| invalid())?;
    let name = String::from_utf8(bytes).map_err(|_| invalid())?;
    if sum != list_checksum(number, &name, asked) {
        return Err(invalid());
    }
    Ok((number, name))
}

fn list_checksum(number: u64, name: &str, asked: u64) -> u32 {
    let parts = [&number.to_be_bytes()[..], name.as_bytes(), &asked.to_be_bytes()[..]];
    (fingerprint(parts) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [Place; 4] = [
        Place { at: 0, position: 0 },
        Place { at: 1_700_000_000_123_456, position: 7 },
        Place { at: 1, position: u64::MAX },
        Place::END,
    ];

    #[test]
    fn a_token_comes_back_as_it_was_given() {
        for place in PLACES {
            for direction in [Direction::Forward, Direction::Backward] {
                let token = stream_token(direction, place, 42);
                assert_eq!(read_stream_token(&token, 42).expect("its own token"), (direction, place));
            }
            assert_eq!(read_search_token(&search_token(place, 42), 42).expect("its own token"), place);
            assert_eq!(place.event_id().len(), 56);
        }
        for name in ["", "a", "2026/11/22/[$LATEST]ünï"] {
            assert_eq!(read_list_token(&list_token(9, name, 1), 1).expect("its own token"), (9, name.to_owned()));
        }
    }

    #[test]
    fn any_other_token_is_refused() {
        let refused = |result: Result<(), LogsError>, token: &str| {
            let error = result.expect_err(token);
            assert_eq!(error.to_string(), "The specified nextToken is invalid.", "{token}");
        };
        let good = stream_token(Direction::Forward, PLACES[1], 42);
        let changed = good.replacen('7', "8", 1);
        let long = format!("f/{}/s", "9".repeat(50));
        for token in
            ["", "f", "f/", "f//s", "x/1/s", "é/1/s", "not-existing-token", &good[..good.len() - 2], &changed, &long]
        {
            refused(read_stream_token(token, 42).map(drop), token);
            refused(read_search_token(token, 42).map(drop), token);
            refused(read_list_token(token, 42).map(drop), token);
        }
        refused(read_stream_token(&good, 43).map(drop), "of another stream");
        refused(read_search_token(&search_token(PLACES[1], 42), 43).map(drop), "of another search");
        refused(read_list_token(&list_token(1, "a", 42), 43).map(drop), "of another list");
        refused(read_list_token("00000000000000000000000g", 42).map(drop), "not hexadecimal");
    }

    #[test]
    fn ids_sort_as_places_do() {
        let mut places = PLACES;
        places.sort_unstable();
        let ids: Vec<String> = places.iter().map(|place| place.event_id()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(places.iter().all(|place| place.after() >= *place));
    }
}
