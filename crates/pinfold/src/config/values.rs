//! Readers of single values: durations, sizes, a share of the machine's memory, yes or no.

use std::time::Duration;

/// Memory as an amount or as a share of what the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// `4GiB`.
    Bytes(u64),
    /// `50%`, between 1 and 100.
    Percent(u8),
}

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads `250ms`, `90s`, `10m`, `6h`, `14d` and sums such as `1h30m`; a number without a unit is refused.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration; write for example 90s, 10m or 6h");
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (amount, after) = leading_number(rest).ok_or_else(bad)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, unit_millis) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        millis = amount.checked_mul(*unit_millis).and_then(|part| millis.checked_add(part)).ok_or_else(bad)?;
        rest = after;
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration as [`duration`] reads it, in its largest whole unit.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (name, unit) = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit))
        .unwrap_or(&DURATION_UNITS[1]);
    format!("{}{name}", millis / unit)
}

/// Reads `4096B`, `256KiB`, `8MiB`, `4GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size; write for example 256KiB, 8MiB or 4GiB");
    let (amount, unit) = leading_number(text.trim()).ok_or_else(bad)?;
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(bad)?;
    amount.checked_mul(*factor).ok_or_else(bad)
}

/// Reads an amount as [`size`] does, or a share such as `50%`.
pub fn memory(text: &str) -> Result<Memory, String> {
    if let Some(share) = text.trim().strip_suffix('%') {
        return match share.trim().parse() {
            Ok(percent @ 1..=100) => Ok(Memory::Percent(percent)),
            _ => Err(format!("{text:?} is not a share between 1% and 100%")),
        };
    }
    size(text)
        .map(Memory::Bytes)
        .map_err(|_| format!("{text:?} is neither a size such as 4GiB nor a share such as 50%"))
}

/// Reads a whole number between two limits.
pub fn whole(text: &str, min: u64, max: u64) -> Result<u64, String> {
    match text.trim().parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a whole number from {min} to {max}")),
    }
}

/// Reads `true` or `false`.
pub fn truth(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, millis, back) in [
            ("250ms", 250, "250ms"),
            ("90s", 90_000, "90s"),
            ("10m", 600_000, "10m"),
            ("6h", 21_600_000, "6h"),
            ("14d", 1_209_600_000, "14d"),
            ("1h30m", 5_400_000, "90m"),
            (" 2s ", 2000, "2s"),
            ("0s", 0, "0s"),
        ] {
            let read = duration(text).expect(text);
            assert_eq!((read, show_duration(read).as_str()), (Duration::from_millis(millis), back), "{text}");
        }
        for bad in ["", "10", "s", "10x", "-1s", "1.5h", "10 m", "99999999999999999999s", "9999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_shares_are_read() {
        assert_eq!(size("8MiB"), Ok(8 << 20));
        assert_eq!(size("4 GiB"), Ok(4 << 30));
        assert_eq!(memory("50%"), Ok(Memory::Percent(50)));
        assert_eq!(memory("512MiB"), Ok(Memory::Bytes(512 << 20)));
        for bad in ["8", "8MB", "MiB", "-1MiB", "99999999TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["0%", "101%", "half", "%"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }
}
