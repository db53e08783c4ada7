//! Decides which windows of time to scan, so that events found in the order of their arrival are read in the order of
//! their times, with bounded memory and without reading all of them for each page.
//!
//! A window that holds more than fits is narrowed to what its events show; one that holds little makes the next one
//! wider. Pure: the driver scans and feeds back what it found.

use crate::limits::SCAN_ITEMS;
use crate::tokens::{Direction, Place};

/// How wide the first window is, in microseconds.
const FIRST_WIDTH: u64 = 1_000_000;

/// What is swept over: something that happened at a place.
pub(crate) trait Placed {
    fn place(&self) -> Place;
}

/// What to scan: events with `from <= at < to`, in order of arrival (the latest first, if backward), beyond `beyond`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// A position whose event was seen already, in a window of one microsecond.
    pub(crate) beyond: Option<u64>,
}

/// A reading in progress.
#[derive(Debug)]
pub(crate) struct Sweep {
    direction: Direction,
    /// Only places in `start..end` are wanted.
    start: Place,
    end: Place,
    /// What is left, in microseconds: `low..high`.
    low: u64,
    high: u64,
    width: u64,
    beyond: Option<u64>,
}

impl Sweep {
    /// Reads the places in `start..end`, from its first on or from its last back.
    pub(crate) fn new(direction: Direction, start: Place, end: Place) -> Self {
        let high = if end.position == 0 { end.at } else { end.at.saturating_add(1) };
        Self { direction, start, end, low: start.at, high, width: FIRST_WIDTH, beyond: None }
    }

    /// What to scan next; nothing, if all was read.
    pub(crate) fn window(&self) -> Option<Window> {
        if self.low >= self.high {
            return None;
        }
        let (from, to) = match self.direction {
            Direction::Forward => (self.low, self.low.saturating_add(self.width).min(self.high)),
            Direction::Backward => (self.high.saturating_sub(self.width).max(self.low), self.high),
        };
        let beyond = if to - from == 1 { self.beyond.or_else(|| self.bound_within(from)) } else { None };
        Some(Window { from, to, beyond })
    }

    /// Where the wanted places begin (end, if backward) within this microsecond, as a position beyond which to scan.
    fn bound_within(&self, at: u64) -> Option<u64> {
        match self.direction {
            Direction::Forward if self.start.at == at => self.start.position.checked_sub(1),
            Direction::Backward if self.end.at == at => Some(self.end.position).filter(|position| *position > 0),
            _ => None,
        }
    }

    /// The place from which everything is still to be read (up to which, if backward).
    pub(crate) fn here(&self) -> Place {
        match (self.direction, self.beyond) {
            (Direction::Forward, None) => Place::from_micros(self.low).max(self.start),
            (Direction::Forward, Some(position)) => Place { at: self.low, position }.after(),
            (Direction::Backward, None) => Place::from_micros(self.high).min(self.end),
            (Direction::Backward, Some(position)) => Place { at: self.high.saturating_sub(1), position },
        }
    }

    /// Takes what a scan of `window` found; if `is_full`, it holds more than that. Returns the wanted ones in reading
    /// order (the latest first, if backward), or nothing if a narrower window has to be scanned first.
    pub(crate) fn feed<T: Placed>(&mut self, window: Window, mut found: Vec<T>, is_full: bool) -> Vec<T> {
        let width = window.to - window.from;
        if is_full && width > 1 {
            self.width = self.narrower(window, &mut found).clamp(1, width - 1);
            return Vec::new();
        }
        if is_full {
            // One microsecond with more events than fit: order of arrival is reading order, go on behind the last.
            self.beyond = found.last().map(|last| last.place().position);
        } else {
            self.beyond = None;
            match self.direction {
                Direction::Forward => self.low = window.to,
                Direction::Backward => self.high = window.from,
            }
            if found.len() < SCAN_ITEMS / 8 {
                self.width = self.width.saturating_mul(4);
            }
        }
        found.retain(|item| (self.start..self.end).contains(&item.place()));
        match self.direction {
            Direction::Forward => found.sort_unstable_by_key(Placed::place),
            Direction::Backward => found.sort_unstable_by_key(|item| std::cmp::Reverse(item.place())),
        }
        found
    }

    /// A width that holds about half of what was found.
    fn narrower<T: Placed>(&self, window: Window, found: &mut [T]) -> u64 {
        let middle = found.len() / 2;
        let (_, median, _) = found.select_nth_unstable_by_key(middle, |item| item.place().at);
        let at = median.place().at;
        match self.direction {
            Direction::Forward => at.saturating_sub(window.from),
            Direction::Backward => window.to.saturating_sub(at).saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Placed for Place {
        fn place(&self) -> Place {
            *self
        }
    }

    /// Scans as the driver would: `arrived` is in the order of arrival.
    fn scan(arrived: &[Place], window: Window, direction: Direction) -> Vec<Place> {
        let is_in = |place: &&Place| (window.from..window.to).contains(&place.at);
        match direction {
            Direction::Forward => {
                let beyond = |place: &&Place| window.beyond.is_none_or(|beyond| place.position > beyond);
                arrived.iter().filter(is_in).filter(beyond).take(SCAN_ITEMS).copied().collect()
            }
            Direction::Backward => {
                let beyond = |place: &&Place| window.beyond.is_none_or(|beyond| place.position < beyond);
                arrived.iter().rev().filter(is_in).filter(beyond).take(SCAN_ITEMS).copied().collect()
            }
        }
    }

    fn read(arrived: &[Place], direction: Direction, start: Place, end: Place) -> (Vec<Place>, usize) {
        let mut sweep = Sweep::new(direction, start, end);
        let (mut read, mut scans) = (Vec::new(), 0);
        while let Some(window) = sweep.window() {
            let found = scan(arrived, window, direction);
            let is_full = found.len() == SCAN_ITEMS;
            read.extend(sweep.feed(window, found, is_full));
            scans += 1;
            assert!(scans < 10_000, "no end");
        }
        (read, scans)
    }

    /// Reads all events both ways, and from a place inside; `times` are in the order of arrival.
    fn check(times: impl IntoIterator<Item = u64>, scans_max: usize) {
        let arrived: Vec<Place> = times.into_iter().zip(1..).map(|(at, position)| Place { at, position }).collect();
        let mut sorted = arrived.clone();
        sorted.sort_unstable();
        let end = Place::from_micros(4_000_000_000_000_000);
        for cut in [0, sorted.len() / 2, sorted.len().saturating_sub(1)] {
            let Some(place) = sorted.get(cut).copied() else { continue };
            let (later, scans) = read(&arrived, Direction::Forward, place, end);
            assert_eq!(later, sorted[cut..], "forward from {cut}");
            assert!(scans <= scans_max, "{scans} scans");
            let (earlier, scans) = read(&arrived, Direction::Backward, Place::from_micros(0), place);
            let expected: Vec<Place> = sorted[..cut].iter().rev().copied().collect();
            assert_eq!(earlier, expected, "backward from {cut}");
            assert!(scans <= scans_max, "{scans} scans");
        }
        let (all, scans) = read(&arrived, Direction::Forward, Place::from_micros(0), end);
        assert_eq!(all, sorted);
        assert!(scans <= scans_max, "{scans} scans");
    }

    /// Stops after each scan and goes on with a new sweep from there.
    fn read_with_pauses(arrived: &[Place], direction: Direction, end: Place) -> Vec<Place> {
        let (mut from, mut to, mut width, mut read) = (Place::from_micros(0), end, FIRST_WIDTH, Vec::new());
        for scans in 0.. {
            assert!(scans < 1000, "no end");
            let mut sweep = Sweep::new(direction, from, to);
            sweep.width = width;
            let Some(window) = sweep.window() else { break };
            let found = scan(arrived, window, direction);
            let is_full = found.len() == SCAN_ITEMS;
            read.extend(sweep.feed(window, found, is_full));
            width = sweep.width;
            match direction {
                Direction::Forward => from = sweep.here(),
                Direction::Backward => to = sweep.here(),
            }
        }
        read
    }

    #[test]
    fn a_reading_that_pauses_misses_and_repeats_nothing() {
        let times = (0..3 * SCAN_ITEMS as u64).map(|n| if n % 2 == 0 { NOW } else { NOW + n * 1000 });
        let arrived: Vec<Place> = times.zip(1..).map(|(at, position)| Place { at, position }).collect();
        let mut sorted = arrived.clone();
        sorted.sort_unstable();
        let end = Place::from_micros(2 * NOW);
        assert_eq!(read_with_pauses(&arrived, Direction::Forward, end), sorted);
        sorted.reverse();
        assert_eq!(read_with_pauses(&arrived, Direction::Backward, end), sorted);
    }

    const NOW: u64 = 1_700_000_000_000_000;

    #[test]
    fn reads_in_the_order_of_time_however_events_arrived() {
        check([], 40);
        check([NOW], 40);
        check((0..20_000).map(|n| NOW + n * 10), 60);
        check((0..20_000).rev().map(|n| NOW + n * 10), 60);
        check((0..20_000).map(|n| NOW + n * 7919 % 20_000), 60);
        check((0..20_000).map(|n| NOW + (n % 10) * 3_600_000_000), 60);
    }

    #[test]
    fn reads_a_single_instant_that_holds_more_than_a_scan() {
        check(std::iter::repeat_n(NOW, 3 * SCAN_ITEMS), 60);
        check((0..20_000).map(|n| if n % 3 == 0 { NOW } else { NOW + n }), 100);
        check((0..2 * SCAN_ITEMS as u64).map(|n| NOW + n / SCAN_ITEMS as u64), 60);
    }

    #[test]
    fn a_long_silence_is_crossed_in_few_scans() {
        check([0, NOW, 2 * NOW], 60);
    }
}
