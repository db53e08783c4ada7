//! The pool decides which instance gets which invocation: pure, in memory, one step for each event.
//!
//! One invocation an instance at a time; idle instances are used again, the youngest first, so that the oldest may
//! end; starts never outnumber those who wait; memory of all instances together has a cap. Who has waited longest gets
//! room first, and an instance whose own invocations are younger is given up for that.

mod room;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use base::time::Timestamp;
use model::ids::{InstanceId, RevisionId};

use room::Room;

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
    /// The platform stops: nobody waits any more, and instances end as they come free.
    Closed,
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
    /// The platform stops.
    Stopping,
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
    waiting: VecDeque<Waiter>,
    /// The youngest at the back.
    idle: VecDeque<(InstanceId, Timestamp)>,
    starting: usize,
    stopping: usize,
    /// Instances in any state.
    instances: usize,
    retired: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    ticket: Ticket,
    /// Counts up over all versions: who came first is told by this, whatever the clock does.
    arrival: u64,
    since: Timestamp,
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
    /// Versions with more who wait than starts on their way.
    hungry: HashSet<VersionId>,
    /// What all instances use, and of that what the idle and the stopping ones use.
    used: Room,
    idle: Room,
    stopping: Room,
    closed: bool,
    next_arrival: u64,
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
            hungry: HashSet::new(),
            used: Room::default(),
            idle: Room::default(),
            stopping: Room::default(),
            closed: false,
            next_arrival: 1,
            next_instance: 1,
        }
    }

    /// Decides; never performs. Same state, event and time: same effects.
    pub fn step(&mut self, event: PoolEvent, now: Timestamp, effects: &mut Vec<Effect>) {
        match event {
            PoolEvent::Arrived { ticket, version, memory_mib } => {
                self.arrived(ticket, version, memory_mib, now, effects);
            }
            PoolEvent::Ready(instance) => self.ready(instance, now, effects),
            PoolEvent::Finished { instance, reusable } => self.finished(instance, reusable, now, effects),
            PoolEvent::StartFailed(instance) => self.start_failed(instance, effects),
            PoolEvent::Lost(instance) => {
                if self.instances.get(&instance).is_some_and(|it| it.status == Status::Idle) {
                    self.stop(instance, effects);
                }
            }
            PoolEvent::Stopped(instance) => self.stopped(instance),
            PoolEvent::Abandoned(ticket) => self.refuse(ticket, Refusal::WaitedTooLong, effects),
            PoolEvent::Retired(version) => self.retired(version, effects),
            PoolEvent::Tick => self.tick(now, effects),
            PoolEvent::Closed => self.close(effects),
        }
        self.give_out_room(now, effects);
    }

    /// Counts; for metrics and status.
    pub fn census(&self) -> Census {
        let mut census = Census { waiting: self.tickets.len(), memory_mib: self.used.mib, ..Census::default() };
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
        self.idle.instances > 0
    }

    /// Whether the version has instances or waiting invocations.
    pub fn knows(&self, version: VersionId) -> bool {
        self.versions.contains_key(&version)
    }

    fn arrived(&mut self, ticket: Ticket, id: VersionId, memory_mib: u32, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.closed {
            return effects.push(Effect::Refuse(ticket, Refusal::Stopping));
        }
        if u64::from(memory_mib) > self.limits.memory_mib_max {
            return effects.push(Effect::Refuse(ticket, Refusal::NeverFits));
        }
        let version = self.versions.entry(id).or_insert_with(|| Version { memory_mib, ..Version::default() });
        if let Some((instance, _)) = version.idle.back().copied() {
            return self.send(instance, ticket, effects);
        }
        let full = version.waiting.len() >= self.limits.waiting_per_version_max
            || self.tickets.len() >= self.limits.waiting_max;
        if full {
            effects.push(Effect::Refuse(ticket, Refusal::QueueFull));
        } else {
            version.waiting.push_back(Waiter { ticket, arrival: self.next_arrival, since: now });
            self.next_arrival += 1;
            self.tickets.insert(ticket, id);
        }
        self.reckon(id);
    }

    /// It goes to who waits longest for it, whoever else waits: a start is not thrown away.
    fn ready(&mut self, instance: InstanceId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.instances.get(&instance) else { return };
        self.employ(instance, state.version, now, effects);
    }

    /// An instance is free again: it ends if it is worn out or if others need its room more than its own version does.
    fn finished(&mut self, instance: InstanceId, reusable: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.instances.get(&instance) else { return };
        let (id, room) = (state.version, Room::of(state.memory_mib));
        let worn_out = !reusable || now.since(state.born) >= self.limits.age_max;
        let head = self.versions.get(&id).and_then(|version| version.waiting.front().copied());
        if worn_out || head.is_some_and(|head| self.is_outranked(id, head, room, now)) {
            self.stop(instance, effects);
        } else {
            self.employ(instance, id, now, effects);
        }
    }

    /// Gives a free instance the next invocation of its version; otherwise it rests.
    fn employ(&mut self, instance: InstanceId, id: VersionId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        if let Some(waiter) = version.waiting.pop_front() {
            self.tickets.remove(&waiter.ticket);
            self.send(instance, waiter.ticket, effects);
        } else if version.retired || self.closed {
            self.stop(instance, effects);
        } else {
            version.idle.push_back((instance, now));
            self.enter(instance, Status::Idle);
        }
    }

    fn start_failed(&mut self, instance: InstanceId, effects: &mut Vec<Effect>) {
        let Some(id) = self.remove(instance) else { return };
        // Whoever waits longest gets the reason; the others get starts of their own.
        let waiter = self.versions.get_mut(&id).and_then(|version| version.waiting.pop_front());
        if let Some(waiter) = waiter {
            self.tickets.remove(&waiter.ticket);
            effects.push(Effect::Fail(waiter.ticket, instance));
        }
        self.reckon(id);
    }

    fn stopped(&mut self, instance: InstanceId) {
        if let Some(id) = self.remove(instance) {
            self.reckon(id);
        }
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal, effects: &mut Vec<Effect>) {
        let Some(id) = self.tickets.remove(&ticket) else { return };
        if let Some(version) = self.versions.get_mut(&id) {
            version.waiting.retain(|waiter| waiter.ticket != ticket);
        }
        effects.push(Effect::Refuse(ticket, refusal));
        self.reckon(id);
    }

    fn retired(&mut self, id: VersionId, effects: &mut Vec<Effect>) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        version.retired = true;
        for (instance, _) in version.idle.clone() {
            self.stop(instance, effects);
        }
        self.reckon(id);
    }

    fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut over = Vec::new();
        for version in self.versions.values_mut() {
            for (instance, since) in &mut version.idle {
                // The clock was set back: what is idle would otherwise stay until it has caught up.
                *since = now.min(*since);
                if now.since(*since) >= self.limits.idle_timeout {
                    over.push(*instance);
                }
            }
        }
        // Among versions the order must not depend on a hash.
        over.sort_unstable();
        for instance in over {
            self.stop(instance, effects);
        }
    }

    fn close(&mut self, effects: &mut Vec<Effect>) {
        self.closed = true;
        let mut waiting: Vec<Ticket> = self.tickets.keys().copied().collect();
        waiting.sort_unstable();
        for ticket in waiting {
            self.refuse(ticket, Refusal::Stopping, effects);
        }
        let idle = self.versions.values().flat_map(|version| &version.idle);
        let mut idle: Vec<InstanceId> = idle.map(|(instance, _)| *instance).collect();
        idle.sort_unstable();
        for instance in idle {
            self.stop(instance, effects);
        }
    }

    fn start(&mut self, id: VersionId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        let instance = InstanceId(self.next_instance);
        self.next_instance += 1;
        version.starting += 1;
        version.instances += 1;
        let memory_mib = version.memory_mib;
        self.used += Room::of(memory_mib);
        self.instances.insert(instance, Instance { version: id, memory_mib, status: Status::Starting, born: now });
        effects.push(Effect::Start(instance, id));
        self.reckon(id);
    }

    fn send(&mut self, instance: InstanceId, ticket: Ticket, effects: &mut Vec<Effect>) {
        self.enter(instance, Status::Busy);
        effects.push(Effect::Send(instance, ticket));
    }

    fn stop(&mut self, instance: InstanceId, effects: &mut Vec<Effect>) {
        if self.instances.get(&instance).is_some_and(|state| state.status != Status::Stopping) {
            self.enter(instance, Status::Stopping);
            effects.push(Effect::Stop(instance));
        }
    }

    /// The one place where an instance changes its status: all sums follow.
    fn enter(&mut self, instance: InstanceId, status: Status) {
        let Some(state) = self.instances.get_mut(&instance) else { return };
        let (before, id, room) =
            (std::mem::replace(&mut state.status, status), state.version, Room::of(state.memory_mib));
        self.leave(instance, before, id, room);
        match status {
            Status::Idle => self.idle += room,
            Status::Stopping => {
                self.stopping += room;
                if let Some(version) = self.versions.get_mut(&id) {
                    version.stopping += 1;
                }
            }
            Status::Starting | Status::Busy => {}
        }
        self.reckon(id);
    }

    fn leave(&mut self, instance: InstanceId, status: Status, id: VersionId, room: Room) {
        let Some(version) = self.versions.get_mut(&id) else { return };
        match status {
            Status::Starting => version.starting -= 1,
            Status::Idle => {
                self.idle -= room;
                // From the back: most leave the idle as the youngest, to be used again.
                if let Some(at) = version.idle.iter().rposition(|(idle, _)| *idle == instance) {
                    version.idle.remove(at);
                }
            }
            Status::Stopping => {
                self.stopping -= room;
                version.stopping -= 1;
            }
            Status::Busy => {}
        }
    }

    /// Forgets an instance that is gone; answers whose it was.
    fn remove(&mut self, instance: InstanceId) -> Option<VersionId> {
        let state = self.instances.remove(&instance)?;
        let room = Room::of(state.memory_mib);
        self.leave(instance, state.status, state.version, room);
        self.used -= room;
        if let Some(version) = self.versions.get_mut(&state.version) {
            version.instances -= 1;
        }
        Some(state.version)
    }

    /// Notes whether a version wants a start; forgets it when nothing of it is left.
    fn reckon(&mut self, id: VersionId) {
        let Some(version) = self.versions.get(&id) else { return };
        if version.waiting.len() > version.starting {
            self.hungry.insert(id);
        } else {
            self.hungry.remove(&id);
        }
        if version.instances == 0 && version.waiting.is_empty() {
            self.versions.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
