//! The pool decides which instance gets which invocation: pure, in memory, one step for each event.
//!
//! One invocation an instance at a time; idle instances are used again, the youngest first, so that the oldest may
//! end; starts never outnumber those who wait; memory of all instances together has a cap.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::time::Timestamp;
use model::ids::{InstanceId, RevisionId};

/// One generation of one function: instances of it are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionId {
    /// The function, told apart from an earlier one of the same name.
    pub incarnation: RevisionId,
    /// Its code and settings.
    pub generation: u64,
}

/// One invocation that is in the pool's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the pool may use.
#[derive(Debug, Clone)]
pub struct PoolLimits {
    /// Configured memory of all instances together.
    pub memory_mib_max: u64,
    /// Instances, whatever their memory.
    pub instances_max: usize,
    /// Starts of one version at the same time.
    pub starts_per_version_max: usize,
    /// Invocations of one version that wait.
    pub waiting_per_version_max: usize,
    /// Invocations that wait, together.
    pub waiting_max: usize,
    /// An instance that was idle this long is stopped.
    pub idle_timeout: Duration,
    /// An instance takes no new invocation beyond this age: its credentials run out.
    pub age_max: Duration,
}

/// All that can happen to the pool.
#[derive(Debug, Clone, Copy)]
pub enum PoolEvent {
    /// An invocation came in.
    Arrived {
        /// The invocation.
        ticket: Ticket,
        /// What it needs an instance of.
        version: VersionId,
        /// Configured memory of such an instance.
        memory_mib: u32,
    },
    /// An instance has done its init.
    Ready(InstanceId),
    /// An instance could not be started; it is gone.
    StartFailed(InstanceId),
    /// An instance has answered.
    Finished {
        /// Which.
        instance: InstanceId,
        /// Whether it can take more.
        reusable: bool,
    },
    /// An idle instance ended by itself; what is left of it must still be stopped.
    Lost(InstanceId),
    /// An instance that was to be stopped is gone.
    Stopped(InstanceId),
    /// An invocation no longer wants to wait.
    Abandoned(Ticket),
    /// The version was replaced or deleted: its instances take no more than what waits already.
    Retired(VersionId),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Give the invocation to the instance.
    Send(InstanceId, Ticket),
    /// Start an instance.
    Start(InstanceId, VersionId),
    /// Stop an instance, then report [`PoolEvent::Stopped`].
    Stop(InstanceId),
    /// Refuse the invocation.
    Refuse(Ticket, Refusal),
    /// Tell the invocation that the instance it waited for could not be started.
    Fail(Ticket, InstanceId),
}

/// Why an invocation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many wait already.
    QueueFull,
    /// It waited as long as it may.
    WaitedTooLong,
    /// One instance needs more memory than all may use.
    NeverFits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Starting,
    Idle,
    Busy,
    Stopping,
}

#[derive(Debug)]
struct Instance {
    version: VersionId,
    memory_mib: u32,
    status: Status,
    born: Timestamp,
}

#[derive(Debug, Default)]
struct Version {
    memory_mib: u32,
    waiting: VecDeque<Ticket>,
    /// The youngest at the back.
    idle: VecDeque<(InstanceId, Timestamp)>,
    starting: usize,
    /// Instances in any state.
    instances: usize,
    retired: bool,
}

/// How many instances are in which state, and how many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Being started.
    pub starting: usize,
    /// Waiting for an invocation.
    pub idle: usize,
    /// Running one.
    pub busy: usize,
    /// Being stopped.
    pub stopping: usize,
    /// Invocations that wait for an instance.
    pub waiting: usize,
    /// Configured memory of all instances.
    pub memory_mib: u64,
}

/// The state of the pool. It lives in memory, so it changes in place.
#[derive(Debug)]
pub struct Pool {
    limits: PoolLimits,
    versions: HashMap<VersionId, Version>,
    instances: HashMap<InstanceId, Instance>,
    /// Where a waiting ticket stands.
    tickets: HashMap<Ticket, VersionId>,
    /// Versions that want a start and found no room, in the order in which they asked.
    hungry: VecDeque<VersionId>,
    memory_mib: u64,
    next_instance: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            versions: HashMap::new(),
            instances: HashMap::new(),
            tickets: HashMap::new(),
            hungry: VecDeque::new(),
            memory_mib: 0,
            next_instance: 1,
        }
    }

    /// Decides; never performs. Same state, event and time: same effects.
    pub fn step(&mut self, event: PoolEvent, now: Timestamp, effects: &mut Vec<Effect>) {
        match event {
            PoolEvent::Arrived { ticket, version, memory_mib } => {
                self.arrived(ticket, version, memory_mib, now, effects);
            }
            PoolEvent::Ready(instance) => self.free(instance, true, now, effects),
            PoolEvent::Finished { instance, reusable } => self.free(instance, reusable, now, effects),
            PoolEvent::StartFailed(instance) => self.start_failed(instance, now, effects),
            PoolEvent::Lost(instance) => {
                if self.instances.get(&instance).is_some_and(|it| it.status == Status::Idle) {
                    self.stop(instance, effects);
                }
            }
            PoolEvent::Stopped(instance) => self.stopped(instance, now, effects),
            PoolEvent::Abandoned(ticket) => self.abandoned(ticket, effects),
            PoolEvent::Retired(version) => self.retired(version, effects),
            PoolEvent::Tick => self.tick(now, effects),
        }
    }

    /// Counts; for metrics and status.
    pub fn census(&self) -> Census {
        let mut census = Census { waiting: self.tickets.len(), memory_mib: self.memory_mib, ..Census::default() };
        for instance in self.instances.values() {
            match instance.status {
                Status::Starting => census.starting += 1,
                Status::Idle => census.idle += 1,
                Status::Busy => census.busy += 1,
                Status::Stopping => census.stopping += 1,
            }
        }
        census
    }

    /// Whether there is an idle instance, so that time matters to the pool.
    pub fn has_idle(&self) -> bool {
        self.versions.values().any(|version| !version.idle.is_empty())
    }

    /// Whether the version has instances or waiting invocations.
    pub fn knows(&self, version: VersionId) -> bool {
        self.versions.contains_key(&version)
    }

    fn arrived(&mut self, ticket: Ticket, id: VersionId, memory_mib: u32, now: Timestamp, effects: &mut Vec<Effect>) {
        if u64::from(memory_mib) > self.limits.memory_mib_max {
            effects.push(Effect::Refuse(ticket, Refusal::NeverFits));
            return;
        }
        let version = self.versions.entry(id).or_insert_with(|| Version { memory_mib, ..Version::default() });
        if let Some((instance, _)) = version.idle.pop_back() {
            self.send(instance, ticket, effects);
            return;
        }
        let full = version.waiting.len() >= self.limits.waiting_per_version_max
            || self.tickets.len() >= self.limits.waiting_max;
        if full {
            effects.push(Effect::Refuse(ticket, Refusal::QueueFull));
            return;
        }
        version.waiting.push_back(ticket);
        self.tickets.insert(ticket, id);
        self.start_if_worth_it(id, now, effects);
    }

    /// An instance is free: it goes on with who waits longest, else it rests, or ends if it is worn out.
    fn free(&mut self, instance: InstanceId, reusable: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.instances.get_mut(&instance) else { return };
        let Some(version) = self.versions.get_mut(&state.version) else { return };
        if state.status == Status::Starting {
            version.starting -= 1;
        }
        state.status = Status::Idle;
        let id = state.version;
        let worn_out = !reusable || now.since(state.born) >= self.limits.age_max;
        if worn_out {
            self.stop(instance, effects);
            self.start_if_worth_it(id, now, effects);
            return;
        }
        if let Some(ticket) = version.waiting.pop_front() {
            self.tickets.remove(&ticket);
            self.send(instance, ticket, effects);
            return;
        }
        let retired = version.retired;
        if retired || self.others_starve(id) {
            self.stop(instance, effects);
        } else if let Some(version) = self.versions.get_mut(&id) {
            version.idle.push_back((instance, now));
        }
    }

    /// Whether another version waits for memory: then a free instance is worth more as room.
    fn others_starve(&self, id: VersionId) -> bool {
        self.hungry.iter().any(|hungry| *hungry != id && self.versions.get(hungry).is_some_and(wants_start))
    }

    fn start_failed(&mut self, instance: InstanceId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.instances.remove(&instance) else { return };
        self.memory_mib -= u64::from(state.memory_mib);
        if let Some(version) = self.versions.get_mut(&state.version) {
            version.instances -= 1;
            version.starting -= 1;
            // Whoever waits longest gets the reason; the others get starts of their own.
            if let Some(ticket) = version.waiting.pop_front() {
                self.tickets.remove(&ticket);
                effects.push(Effect::Fail(ticket, instance));
            }
        }
        self.start_if_worth_it(state.version, now, effects);
        self.forget_if_empty(state.version);
        self.feed_hungry(now, effects);
    }

    fn stopped(&mut self, instance: InstanceId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.instances.remove(&instance) else { return };
        self.memory_mib -= u64::from(state.memory_mib);
        if let Some(version) = self.versions.get_mut(&state.version) {
            version.instances -= 1;
        }
        self.start_if_worth_it(state.version, now, effects);
        self.forget_if_empty(state.version);
        self.feed_hungry(now, effects);
    }

    fn abandoned(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) {
        let Some(id) = self.tickets.remove(&ticket) else { return };
        if let Some(version) = self.versions.get_mut(&id) {
            version.waiting.retain(|waiting| *waiting != ticket);
        }
        effects.push(Effect::Refuse(ticket, Refusal::WaitedTooLong));
        self.forget_if_empty(id);
    }

    fn retired(&mut self, id: VersionId, effects: &mut Vec<Effect>) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        version.retired = true;
        for (instance, _) in std::mem::take(&mut version.idle) {
            self.stop(instance, effects);
        }
        self.forget_if_empty(id);
    }

    fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut over = Vec::new();
        for version in self.versions.values_mut() {
            while let Some((instance, since)) = version.idle.front().copied() {
                if now.since(since) < self.limits.idle_timeout {
                    break;
                }
                version.idle.pop_front();
                over.push(instance);
            }
        }
        // Instances of one version leave in order of age; among versions the order must not depend on a hash.
        over.sort_unstable();
        for instance in over {
            self.stop(instance, effects);
        }
    }

    fn send(&mut self, instance: InstanceId, ticket: Ticket, effects: &mut Vec<Effect>) {
        if let Some(state) = self.instances.get_mut(&instance) {
            state.status = Status::Busy;
            effects.push(Effect::Send(instance, ticket));
        }
    }

    fn stop(&mut self, instance: InstanceId, effects: &mut Vec<Effect>) {
        let Some(state) = self.instances.get_mut(&instance) else { return };
        if state.status == Status::Stopping {
            return;
        }
        state.status = Status::Stopping;
        if let Some(version) = self.versions.get_mut(&state.version) {
            version.idle.retain(|(idle, _)| *idle != instance);
        }
        effects.push(Effect::Stop(instance));
    }

    fn start_if_worth_it(&mut self, id: VersionId, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(version) = self.versions.get_mut(&id) {
            if !wants_start(version) || version.starting >= self.limits.starts_per_version_max {
                return;
            }
            let memory_mib = version.memory_mib;
            let fits = self.memory_mib + u64::from(memory_mib) <= self.limits.memory_mib_max
                && self.instances.len() < self.limits.instances_max;
            if !fits {
                if !self.hungry.contains(&id) {
                    self.hungry.push_back(id);
                }
                self.make_room(memory_mib, effects);
                return;
            }
            let instance = InstanceId(self.next_instance);
            self.next_instance += 1;
            version.starting += 1;
            version.instances += 1;
            self.memory_mib += u64::from(memory_mib);
            let state = Instance { version: id, memory_mib, status: Status::Starting, born: now };
            self.instances.insert(instance, state);
            effects.push(Effect::Start(instance, id));
        }
    }

    /// Stops idle instances, those longest idle first, until what is wanted will fit once they are gone.
    fn make_room(&mut self, memory_mib: u32, effects: &mut Vec<Effect>) {
        let stopping = |pool: &Self| {
            let all = pool.instances.values().filter(|it| it.status == Status::Stopping);
            all.fold((0, 0), |(count, mib), it| (count + 1, mib + u64::from(it.memory_mib)))
        };
        loop {
            let (count, mib) = stopping(self);
            let fits_soon = self.memory_mib - mib + u64::from(memory_mib) <= self.limits.memory_mib_max
                && self.instances.len() - count < self.limits.instances_max;
            if fits_soon {
                return;
            }
            let oldest = self
                .versions
                .values()
                .filter_map(|version| version.idle.front().map(|(instance, since)| (*since, *instance)))
                .min();
            let Some((_, instance)) = oldest else { return };
            self.stop(instance, effects);
        }
    }

    /// Room came free: those who found none before are tried again, in order.
    fn feed_hungry(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for _ in 0..self.hungry.len() {
            let Some(id) = self.hungry.pop_front() else { return };
            self.start_if_worth_it(id, now, effects);
            // Who found no room again has been put back, at the end; the order of the others stands.
            if self.hungry.back() == Some(&id) {
                self.hungry.rotate_right(1);
                return;
            }
        }
    }

    fn forget_if_empty(&mut self, id: VersionId) {
        if self.versions.get(&id).is_some_and(|version| version.instances == 0 && version.waiting.is_empty()) {
            self.versions.remove(&id);
        }
    }
}

/// Starts never outnumber those who wait: a start on its way will serve somebody.
fn wants_start(version: &Version) -> bool {
    version.waiting.len() > version.starting
}

#[cfg(test)]
mod tests;
