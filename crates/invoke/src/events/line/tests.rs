//! Lines and the schedule together, over the store in memory: what runs, in which order, and how much is read for it.

use std::time::Duration;

use base::entropy::SeededEntropy;
use model::ids::AccountId;
use store::memory::MemoryStore;

use super::super::NewEvent;
use super::super::schedule::{RUNNING_MAX, RUNNING_PER_FUNCTION_MAX, Schedule};
use super::*;

fn function(name: &str) -> FunctionId {
    FunctionId {
        account: AccountId::parse("000000000000").expect("an account"),
        region: model::names::Region::parse("us-east-1").expect("a region"),
        name: model::names::FunctionName::parse(name).expect("a name"),
    }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + secs * 1000)
}

/// Events that wait, and what was read for those that ran.
struct World {
    store: MemoryStore,
    entropy: SeededEntropy,
    schedule: Schedule,
    running: Vec<(FunctionId, InvocationId)>,
    places_read: usize,
}

impl World {
    fn new() -> Self {
        let entropy = SeededEntropy::new(7);
        Self { store: MemoryStore::new(), entropy, schedule: Schedule::default(), running: Vec::new(), places_read: 0 }
    }

    async fn accept(&mut self, name: &str, secs: u64) -> InvocationId {
        let (function, id) = (function(name), InvocationId::from_random(self.entropy.id()));
        let mut batch = Batch::new(&self.entropy);
        batch.put(&place(&function, at(secs), id), Bytes::new());
        self.store.commit(batch).await.expect("commits");
        self.schedule.waits(&function, at(secs));
        id
    }

    /// Begins what there is room for; answers how much that was.
    async fn dispatch(&mut self, secs: u64) -> usize {
        let mut count = 0;
        while let Some(look) = self.schedule.choose(at(secs)) {
            let front = front(&self.store, &look.function, look.places).await.expect("reads");
            self.places_read += front.places.len();
            for (due, id) in self.schedule.looked(&look, &front, at(secs)) {
                let mut batch = Batch::new(&self.entropy);
                batch.delete(&place(&look.function, due, id));
                self.store.commit(batch).await.expect("commits");
                self.running.push((look.function.clone(), id));
                count += 1;
            }
        }
        count
    }

    fn runs(&self, name: &str) -> usize {
        self.running.iter().filter(|(function, _)| function.name.as_str() == name).count()
    }

    fn end_first(&mut self) {
        let (function, id) = self.running.remove(0);
        self.schedule.ended(&function, id);
    }
}

#[tokio::test]
async fn a_long_line_hides_no_other_function() {
    let mut world = World::new();
    for _ in 0..2000 {
        world.accept("busy", 0).await;
    }
    assert_eq!(world.dispatch(1).await, RUNNING_PER_FUNCTION_MAX);
    let late = world.accept("quiet", 2).await;
    assert_eq!(world.dispatch(3).await, 1);
    assert_eq!(world.running.last(), Some(&(function("quiet"), late)));
}

#[tokio::test]
async fn an_end_costs_the_same_however_long_the_line() {
    let mut cost = Vec::new();
    for waiting in [200, 3000] {
        let mut world = World::new();
        for _ in 0..waiting {
            world.accept("busy", 0).await;
        }
        world.dispatch(1).await;
        world.places_read = 0;
        for _ in 0..50 {
            world.end_first();
            assert_eq!(world.dispatch(1).await, 1);
        }
        cost.push(world.places_read);
    }
    assert_eq!(cost[0], cost[1]);
    assert!(cost[1] <= 50 * (RUNNING_PER_FUNCTION_MAX + 1), "{cost:?}");
}

#[tokio::test]
async fn functions_share_what_may_run_together() {
    let mut world = World::new();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        for _ in 0..100 {
            world.accept(name, 0).await;
        }
    }
    assert_eq!(world.dispatch(1).await, RUNNING_MAX);
    for _ in 0..RUNNING_MAX {
        world.end_first();
        assert_eq!(world.dispatch(1).await, 1);
    }
    for name in names {
        assert!(world.runs(name) >= RUNNING_MAX / names.len() - 1, "{name} has {}", world.runs(name));
    }
}

#[tokio::test]
async fn everything_runs_once_and_only_when_it_is_due() {
    let mut world = World::new();
    for second in 0..100 {
        world.accept(if second % 3 == 0 { "a" } else { "b" }, second).await;
    }
    assert_eq!(world.schedule.pause(at(0)), Some(Duration::ZERO));
    let mut ran = 0;
    for second in 0..100 {
        assert_eq!(world.dispatch(second).await, 1, "at {second} s");
        let pause = world.schedule.pause(at(second));
        assert_eq!(pause, (second < 99).then_some(Duration::from_secs(1)), "at {second} s");
        if world.running.len() > 20 {
            world.end_first();
            ran += 1;
        }
    }
    while !world.running.is_empty() {
        world.end_first();
        ran += 1;
    }
    assert_eq!((ran, world.schedule.is_quiet()), (100, true));
    assert_eq!(world.dispatch(1000).await, 0);
}

#[tokio::test]
async fn what_an_earlier_platform_left_gets_a_place_once() {
    let store = MemoryStore::new();
    let entropy = SeededEntropy::new(7);
    let mut batch = Batch::new(&entropy);
    let mut ids = Vec::new();
    // More than one page; every third had begun, and the others wait as due-times.
    for number in 0..TAKEN_UP_MAX as u64 + 50 {
        let id = InvocationId::from_random(entropy.id());
        let new = NewEvent {
            id,
            function: function(if number % 2 == 0 { "a" } else { "b" }),
            qualifier: None,
            payload: Bytes::from_static(b"{}"),
            client_context: None,
            trace_header: String::new(),
        };
        let mut record = EventRecord::new(new, true, at(number));
        record.state.running = number % 3 == 0;
        batch.put_record(&record::key(id), &record);
        if !record.state.running {
            batch.due_set(&record::key(id), at(number), Bytes::new());
        }
        ids.push(id);
    }
    store.commit(batch).await.expect("commits");
    for _ in 0..2 {
        let lines = take_up(&store, &entropy).await.expect("takes up");
        assert_eq!(lines, HashMap::from([(function("a"), at(0)), (function("b"), at(1))]));
        for (name, offset) in [("a", 0), ("b", 1)] {
            let found = front(&store, &function(name), 1000).await.expect("reads");
            let expected: Vec<_> =
                ids.iter().enumerate().skip(offset).step_by(2).map(|(n, id)| (at(n as u64), *id)).collect();
            assert_eq!(found, Front { places: expected, is_all: true });
        }
    }
    assert_eq!(store.due(&record::shard(), Timestamp::MAX, 1000).await.expect("reads"), []);
}
