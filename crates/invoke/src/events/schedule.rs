//! Which function's events are to be looked at next, and which of them run: pure, in memory.
//!
//! It knows each function that has a line, and each event that runs; not the events that wait. So it is bounded by the
//! functions with waiting events and by [`RUNNING_MAX`], and what a step costs does not depend on how many events wait.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base::time::Timestamp;
use model::ids::{FunctionId, InvocationId};

use super::line::Front;

/// Attempts that run at the same time, over all functions.
pub(crate) const RUNNING_MAX: usize = 128;
/// Attempts of one function that run at the same time.
pub(crate) const RUNNING_PER_FUNCTION_MAX: usize = 32;

/// The state of the dispatcher.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    functions: HashMap<FunctionId, Known>,
    running: HashSet<InvocationId>,
}

/// What is known of a function.
#[derive(Debug, Default)]
struct Known {
    /// From when on the front of its line is worth a look; `None` if nothing is known to wait.
    next: Option<Timestamp>,
    running: usize,
}

/// A line that is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) function: FunctionId,
    /// So many places: those of events that are about to begin, those that there is room for, and one more.
    pub(crate) places: usize,
}

impl Schedule {
    /// An event of the function waits and may run from `at` on.
    pub(crate) fn waits(&mut self, function: &FunctionId, at: Timestamp) {
        let known = self.functions.entry(function.clone()).or_default();
        known.next = Some(known.next.map_or(at, |next| next.min(at)));
    }

    /// The line to look at now: of those with something due, that of the function of which the least runs. Until
    /// [`looked`](Self::looked) nothing is known to wait in it.
    pub(crate) fn choose(&mut self, now: Timestamp) -> Option<Look> {
        let room = RUNNING_MAX - self.running.len();
        let due = self.functions.iter().filter(|(_, known)| known.has_room() && known.next.is_some_and(|at| at <= now));
        let (function, _) =
            due.min_by_key(|(function, known)| (known.running, known.next, *function)).filter(|_| room > 0)?;
        let function = function.clone();
        let known = self.functions.get_mut(&function)?;
        known.next = None;
        let places = known.running + room.min(RUNNING_PER_FUNCTION_MAX - known.running) + 1;
        Some(Look { function, places })
    }

    /// What stood at the front of a line; answers which of it runs now, each until [`ended`](Self::ended).
    pub(crate) fn looked(&mut self, look: &Look, front: &Front, now: Timestamp) -> Vec<(Timestamp, InvocationId)> {
        let mut begin = Vec::new();
        let mut rest = None;
        for (at, id) in &front.places {
            if self.running.contains(id) {
                continue;
            }
            let known = self.functions.entry(look.function.clone()).or_default();
            if *at > now || !known.has_room() || self.running.len() >= RUNNING_MAX {
                rest = Some(*at);
                break;
            }
            known.running += 1;
            self.running.insert(*id);
            begin.push((*at, *id));
        }
        let beyond = front.places.last().filter(|_| !front.is_all).map(|(at, _)| *at);
        if let Some(at) = rest.or(beyond) {
            self.waits(&look.function, at);
        }
        self.forget_if_quiet(&look.function);
        begin
    }

    /// An event no longer runs.
    pub(crate) fn ended(&mut self, function: &FunctionId, id: InvocationId) {
        if self.running.remove(&id)
            && let Some(known) = self.functions.get_mut(function)
        {
            known.running -= 1;
        }
        self.forget_if_quiet(function);
    }

    /// Whether nothing runs.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.is_empty()
    }

    /// How long nothing more will be due that could run; `None` if only a change can help.
    pub(crate) fn pause(&self, now: Timestamp) -> Option<Duration> {
        if self.running.len() >= RUNNING_MAX {
            return None;
        }
        let open = self.functions.values().filter(|known| known.has_room());
        open.filter_map(|known| known.next).min().map(|at| at.since(now))
    }

    fn forget_if_quiet(&mut self, function: &FunctionId) {
        if self.functions.get(function).is_some_and(|known| known.running == 0 && known.next.is_none()) {
            self.functions.remove(function);
        }
    }
}

impl Known {
    fn has_room(&self) -> bool {
        self.running < RUNNING_PER_FUNCTION_MAX
    }
}
