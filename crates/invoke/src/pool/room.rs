//! Who gets room when there is too little: the longest waiting first, without holding up all others for a large one.

use std::collections::BinaryHeap;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use base::time::Timestamp;

use super::{Effect, Pool, PoolLimits, Version, VersionId, Waiter};

/// A version that has an instance is served by it in turn, and gets the room of another's only when it has waited this
/// much longer: each such change costs a cold start.
const PATIENCE: Duration = Duration::from_secs(1);
/// From this time on what comes free is kept for who waits for more room than one instance leaves. Until then others go
/// ahead, so that a large one does not hold them up for as long as something else runs.
const KEPT_AFTER: Duration = Duration::from_secs(5);

/// Memory and places for instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Room {
    pub(super) mib: u64,
    pub(super) instances: usize,
}

/// A version's wish for one more instance, on behalf of the first who waits that no start is on its way for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    arrival: u64,
    since: Timestamp,
    version: VersionId,
    wanted: Room,
    /// Whether instances that serve its queue are there or on their way.
    is_served: bool,
}

impl Room {
    /// What one instance takes.
    pub(super) fn of(memory_mib: u32) -> Self {
        Self { mib: memory_mib.into(), instances: 1 }
    }

    fn of_all(limits: &PoolLimits) -> Self {
        Self { mib: limits.memory_mib_max, instances: limits.instances_max }
    }

    fn fits_in(self, other: Self) -> bool {
        self.mib <= other.mib && self.instances <= other.instances
    }
}

impl Add for Room {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { mib: self.mib + other.mib, instances: self.instances + other.instances }
    }
}

impl Sub for Room {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { mib: self.mib - other.mib, instances: self.instances - other.instances }
    }
}

impl AddAssign for Room {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Room {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// The oldest is the greatest, for a heap.
impl Ord for Claim {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.arrival.cmp(&self.arrival)
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Claim {
    fn is_kept_for(&self, now: Timestamp) -> bool {
        now.since(self.since) >= KEPT_AFTER
    }

    fn outranks(&self, head: Waiter) -> bool {
        self.arrival < head.arrival && (!self.is_served || head.since.since(self.since) >= PATIENCE)
    }
}

impl Pool {
    /// Starts what there is room for and makes room by ending idle instances, for the oldest claim first. What is coming
    /// free for an older claim is not given to a younger one.
    pub(super) fn give_out_room(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.hungry.is_empty() {
            return;
        }
        let mut claims: BinaryHeap<Claim> = self.hungry.iter().filter_map(|id| self.claim(*id)).collect();
        let mut kept = Room::default();
        while let Some(claim) = claims.pop() {
            let free = Room::of_all(&self.limits) - self.used;
            let wanted = kept + claim.wanted;
            if wanted.fits_in(free + self.stopping) {
                if claim.wanted.fits_in(free) {
                    self.start(claim.version, now, effects);
                    claims.extend(self.claim(claim.version));
                    continue;
                }
            } else if wanted.fits_in(free + self.stopping + self.idle) || claim.is_kept_for(now) {
                self.end_idle(wanted, effects);
            } else {
                continue;
            }
            kept = wanted;
        }
    }

    /// Whether somebody has waited longer than `head` who could start if the instance that is to serve it were ended, or
    /// for whom room is gathered.
    pub(super) fn is_outranked(&self, id: VersionId, head: Waiter, instance: Room, now: Timestamp) -> bool {
        let others = self.hungry.iter().filter(|other| **other != id);
        let mut older: BinaryHeap<Claim> =
            others.filter_map(|other| self.claim(*other)).filter(|claim| claim.outranks(head)).collect();
        let coming = Room::of_all(&self.limits) - self.used + self.stopping + self.idle;
        let mut kept = Room::default();
        while let Some(claim) = older.pop() {
            let wanted = kept + claim.wanted;
            if wanted.fits_in(coming) {
                kept = wanted;
            } else if wanted.fits_in(coming + instance) || claim.is_kept_for(now) {
                return true;
            }
        }
        false
    }

    fn claim(&self, id: VersionId) -> Option<Claim> {
        let version = self.versions.get(&id)?;
        if version.starting >= self.limits.starts_per_version_max {
            return None;
        }
        let waiter = version.waiting.get(version.starting)?;
        Some(Claim {
            arrival: waiter.arrival,
            since: waiter.since,
            version: id,
            wanted: Room::of(version.memory_mib),
            is_served: version.instances > version.stopping,
        })
    }

    /// Ends idle instances, those longest idle first, until what is wanted will fit once they are gone.
    fn end_idle(&mut self, wanted: Room, effects: &mut Vec<Effect>) {
        while !wanted.fits_in(Room::of_all(&self.limits) - self.used + self.stopping) {
            let longest = |version: &Version| version.idle.front().map(|(instance, since)| (*since, *instance));
            let Some((_, instance)) = self.versions.values().filter_map(longest).min() else { return };
            self.stop(instance, effects);
        }
    }
}
