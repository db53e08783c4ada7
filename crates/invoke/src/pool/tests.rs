//! The pool's rules as scripts, and a random walk that holds its invariants at every step.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn limits() -> PoolLimits {
    PoolLimits {
        memory_mib_max: 512,
        instances_max: 100,
        starts_per_version_max: 4,
        waiting_per_version_max: 3,
        waiting_max: 5,
        idle_timeout: Duration::from_secs(60),
        age_max: Duration::from_secs(3600),
    }
}

fn version(letter: char) -> VersionId {
    VersionId { incarnation: RevisionId::from_random([letter as u8; 16]), generation: 1 }
}

/// Runs a script, one event a line, and shows the effects. `A 1 a 128` arrives, `R`eady, `F`inished, `X` finished for
/// good, `L`ost, `S`topped, `!` start failed, `-` abandoned, `Q` retired, `T` seconds pass, `B` they pass backwards, `C`losed.
fn check(script: &str, expected: Expect) {
    let mut pool = Pool::new(limits());
    let mut now = Timestamp::from_millis(1_000_000);
    let mut out = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        let letter = |at: usize| version(words[at].chars().next().expect("a letter"));
        let instance = |at: usize| InstanceId(number(at));
        let event = match words[0] {
            "A" => PoolEvent::Arrived {
                ticket: Ticket(number(1)),
                version: letter(2),
                memory_mib: u32::try_from(number(3)).expect("small"),
            },
            "R" => PoolEvent::Ready(instance(1)),
            "F" => PoolEvent::Finished { instance: instance(1), reusable: true },
            "X" => PoolEvent::Finished { instance: instance(1), reusable: false },
            "L" => PoolEvent::Lost(instance(1)),
            "S" => PoolEvent::Stopped(instance(1)),
            "!" => PoolEvent::StartFailed(instance(1)),
            "-" => PoolEvent::Abandoned(Ticket(number(1))),
            "Q" => PoolEvent::Retired(letter(1)),
            "T" => {
                now = now.plus(Duration::from_secs(number(1)));
                PoolEvent::Tick
            }
            "B" => {
                now = now.minus(Duration::from_secs(number(1)));
                PoolEvent::Tick
            }
            "C" => PoolEvent::Closed,
            other => panic!("no event {other}"),
        };
        let mut effects = Vec::new();
        pool.step(event, now, &mut effects);
        let shown: Vec<String> = effects
            .iter()
            .map(|effect| match effect {
                Effect::Send(instance, ticket) => format!("send {} to {instance}", ticket.0),
                Effect::Start(instance, _) => format!("start {instance}"),
                Effect::Stop(instance) => format!("stop {instance}"),
                Effect::Refuse(ticket, why) => format!("refuse {} {why:?}", ticket.0),
                Effect::Fail(ticket, instance) => format!("fail {} by {instance}", ticket.0),
            })
            .collect();
        out.push_str(&format!("{line}: {}\n", shown.join(", ")));
    }
    expected.assert_eq(&out);
}

#[test]
fn an_idle_instance_is_used_again() {
    check(
        "A 1 a 128
         R 1
         F 1
         A 2 a 128",
        expect![[r#"
            A 1 a 128: start 1
            R 1: send 1 to 1
            F 1: 
            A 2 a 128: send 2 to 1
        "#]],
    );
}

#[test]
fn a_worn_out_instance_is_replaced() {
    check(
        "A 1 a 128
         R 1
         A 2 a 128
         X 1
         S 1
         R 2",
        expect![[r#"
            A 1 a 128: start 1
            R 1: send 1 to 1
            A 2 a 128: start 2
            X 1: stop 1
            S 1: 
            R 2: send 2 to 2
        "#]],
    );
}

#[test]
fn memory_is_taken_from_the_longest_idle() {
    check(
        "A 1 a 256
         R 1
         F 1
         A 2 b 256
         R 2
         F 2
         A 3 c 256
         S 1
         R 3",
        expect![[r#"
            A 1 a 256: start 1
            R 1: send 1 to 1
            F 1: 
            A 2 b 256: start 2
            R 2: send 2 to 2
            F 2: 
            A 3 c 256: stop 1
            S 1: start 3
            R 3: send 3 to 3
        "#]],
    );
}

#[test]
fn a_freed_instance_makes_room_for_those_who_starve() {
    check(
        "A 1 a 512
         R 1
         A 2 b 128
         F 1
         S 1",
        expect![[r#"
            A 1 a 512: start 1
            R 1: send 1 to 1
            A 2 b 128: 
            F 1: stop 1
            S 1: start 2
        "#]],
    );
}

#[test]
fn waiting_has_bounds() {
    check(
        "A 1 a 512
         R 1
         A 2 a 512
         A 3 a 512
         A 4 a 512
         A 5 a 512
         - 3
         F 1
         A 6 z 1024",
        expect![[r#"
            A 1 a 512: start 1
            R 1: send 1 to 1
            A 2 a 512: 
            A 3 a 512: 
            A 4 a 512: 
            A 5 a 512: refuse 5 QueueFull
            - 3: refuse 3 WaitedTooLong
            F 1: send 2 to 1
            A 6 z 1024: refuse 6 NeverFits
        "#]],
    );
}

#[test]
fn a_failed_start_is_told_to_one_and_tried_for_the_next() {
    check(
        "A 1 a 128
         A 2 a 128
         ! 1
         ! 2",
        expect![[r#"
            A 1 a 128: start 1
            A 2 a 128: start 2
            ! 1: fail 1 by 1
            ! 2: fail 2 by 2
        "#]],
    );
}

#[test]
fn a_retired_version_serves_who_waits_and_ends() {
    check(
        "A 1 a 128
         R 1
         F 1
         A 2 a 128
         A 3 a 128
         Q a
         F 1
         S 1
         R 2",
        expect![[r#"
            A 1 a 128: start 1
            R 1: send 1 to 1
            F 1: 
            A 2 a 128: send 2 to 1
            A 3 a 128: start 2
            Q a: 
            F 1: send 3 to 1
            S 1: 
            R 2: stop 2
        "#]],
    );
}

#[test]
fn idle_instances_end_after_their_time() {
    check(
        "A 1 a 128
         R 1
         F 1
         T 59
         T 1
         S 1",
        expect![[r#"
            A 1 a 128: start 1
            R 1: send 1 to 1
            F 1: 
            T 59: 
            T 1: stop 1
            S 1: 
        "#]],
    );
}

#[test]
fn a_clock_that_is_set_back_keeps_no_instance() {
    check(
        "A 1 a 128
         R 1
         F 1
         B 900
         T 59
         T 1",
        expect![[r#"
            A 1 a 128: start 1
            R 1: send 1 to 1
            F 1: 
            B 900: 
            T 59: 
            T 1: stop 1
        "#]],
    );
}

#[test]
fn a_busy_version_gives_an_instance_up_for_who_waits_longer() {
    check(
        "A 1 b 256
         A 2 b 256
         R 1
         R 2
         A 3 a 256
         A 4 b 256
         F 1
         S 1
         R 3
         F 2",
        expect![[r#"
            A 1 b 256: start 1
            A 2 b 256: start 2
            R 1: send 1 to 1
            R 2: send 2 to 2
            A 3 a 256: 
            A 4 b 256: 
            F 1: stop 1
            S 1: start 3
            R 3: send 3 to 3
            F 2: send 4 to 2
        "#]],
    );
}

#[test]
fn versions_that_both_have_instances_do_not_take_them_from_each_other_all_the_time() {
    check(
        "A 1 a 256
         A 2 b 256
         R 1
         R 2
         A 3 a 256
         A 4 b 256
         F 2
         A 5 b 256
         T 2
         A 6 b 256
         F 2
         F 2",
        expect![[r#"
            A 1 a 256: start 1
            A 2 b 256: start 2
            R 1: send 1 to 1
            R 2: send 2 to 2
            A 3 a 256: 
            A 4 b 256: 
            F 2: send 4 to 2
            A 5 b 256: 
            T 2: 
            A 6 b 256: 
            F 2: send 5 to 2
            F 2: stop 2
        "#]],
    );
}

#[test]
fn small_ones_go_ahead_of_a_large_one_until_it_has_waited_long() {
    check(
        "A 1 b 256
         A 2 b 256
         R 1
         R 2
         A 3 d 512
         A 4 b 256
         A 5 b 256
         A 6 b 256
         F 1
         T 5
         F 1
         F 2
         S 1
         S 2
         R 3
         F 3",
        expect![[r#"
            A 1 b 256: start 1
            A 2 b 256: start 2
            R 1: send 1 to 1
            R 2: send 2 to 2
            A 3 d 512: 
            A 4 b 256: 
            A 5 b 256: 
            A 6 b 256: 
            F 1: send 4 to 1
            T 5: 
            F 1: stop 1
            F 2: stop 2
            S 1: 
            S 2: start 3
            R 3: send 3 to 3
            F 3: stop 3
        "#]],
    );
}

#[test]
fn a_start_is_not_made_ahead_of_one_that_the_room_would_do_for() {
    check(
        "A 1 a 512
         R 1
         A 2 b 384
         A 3 c 256
         F 1
         A 4 c 256
         S 1
         R 2
         F 2
         S 2",
        expect![[r#"
            A 1 a 512: start 1
            R 1: send 1 to 1
            A 2 b 384: 
            A 3 c 256: 
            F 1: stop 1
            A 4 c 256: 
            S 1: start 2
            R 2: send 2 to 2
            F 2: stop 2
            S 2: start 3, start 4
        "#]],
    );
}

#[test]
fn who_still_waits_when_the_pool_closes_is_told_at_once() {
    check(
        "A 1 a 256
         R 1
         A 2 b 128
         R 2
         F 2
         A 3 c 256
         A 4 a 256
         C
         A 5 a 256
         S 2
         F 1",
        expect![[r#"
            A 1 a 256: start 1
            R 1: send 1 to 1
            A 2 b 128: start 2
            R 2: send 2 to 2
            F 2: 
            A 3 c 256: stop 2
            A 4 a 256: 
            C: refuse 3 Stopping, refuse 4 Stopping
            A 5 a 256: refuse 5 Stopping
            S 2: 
            F 1: stop 1
        "#]],
    );
}

/// Where every ticket and instance is, as the effects tell it.
#[derive(Default)]
struct Auditor {
    open: BTreeSet<u64>,
    running: HashMap<InstanceId, Ticket>,
    alive: HashMap<InstanceId, (Status, u32)>,
}

impl Auditor {
    fn audit(&mut self, effects: &[Effect], memory: &HashMap<VersionId, u32>) {
        for effect in effects {
            match effect {
                Effect::Start(instance, version) => {
                    assert!(
                        self.alive.insert(*instance, (Status::Starting, memory[version])).is_none(),
                        "started twice"
                    );
                }
                Effect::Send(instance, ticket) => {
                    let state = self.alive.get_mut(instance).expect("sent to one that lives");
                    assert_ne!(state.0, Status::Busy, "double assignment");
                    assert_ne!(state.0, Status::Stopping, "sent to one that stops");
                    state.0 = Status::Busy;
                    assert!(self.open.contains(&ticket.0), "sent what is not open");
                    assert!(self.running.insert(*instance, *ticket).is_none());
                }
                Effect::Stop(instance) => {
                    let state = self.alive.get_mut(instance).expect("stopped one that lives");
                    assert_ne!(state.0, Status::Busy, "stopped while busy");
                    assert_ne!(state.0, Status::Stopping, "stopped twice");
                    state.0 = Status::Stopping;
                }
                Effect::Refuse(ticket, _) => assert!(self.open.remove(&ticket.0), "refused what is not open"),
                Effect::Fail(ticket, instance) => {
                    assert!(self.open.remove(&ticket.0), "failed what is not open");
                    assert!(!self.running.contains_key(instance));
                }
            }
        }
        let used: u64 = self.alive.values().map(|(_, mib)| u64::from(*mib)).sum();
        assert!(used <= limits().memory_mib_max, "{used} MiB");
    }

    fn pick(&self, status: Status, choice: usize) -> Option<InstanceId> {
        let mut all: Vec<_> = self.alive.iter().filter(|(_, it)| it.0 == status).map(|(id, _)| *id).collect();
        all.sort_unstable();
        (!all.is_empty()).then(|| all[choice % all.len()])
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_waiter_is_lost_and_no_cap_exceeded(steps in proptest::collection::vec((0_u8..10, 0_usize..1000), 1..250)) {
        let mut pool = Pool::new(limits());
        let mut auditor = Auditor::default();
        let memory: HashMap<VersionId, u32> = ('a'..='d').zip([128, 128, 256, 512]).map(|(c, m)| (version(c), m)).collect();
        let mut now = Timestamp::from_millis(1);
        let mut next_ticket = 0;
        let play = |pool: &mut Pool, auditor: &mut Auditor, now, event| {
            let mut effects = Vec::new();
            pool.step(event, now, &mut effects);
            auditor.audit(&effects, &memory);
        };
        for (kind, choice) in steps {
            let event = match kind {
                0..=3 => {
                    next_ticket += 1;
                    auditor.open.insert(next_ticket);
                    let version = version(['a', 'b', 'c', 'd'][choice % 4]);
                    PoolEvent::Arrived { ticket: Ticket(next_ticket), version, memory_mib: memory[&version] }
                }
                4 => match auditor.pick(Status::Starting, choice) {
                    Some(instance) => { auditor.alive.get_mut(&instance).expect("picked").0 = Status::Idle; PoolEvent::Ready(instance) }
                    None => continue,
                },
                5 | 6 => match auditor.pick(Status::Busy, choice) {
                    Some(instance) => {
                        auditor.alive.get_mut(&instance).expect("picked").0 = Status::Idle;
                        let ticket = auditor.running.remove(&instance).expect("it ran");
                        auditor.open.remove(&ticket.0);
                        PoolEvent::Finished { instance, reusable: choice % 5 != 0 }
                    }
                    None => continue,
                },
                7 => match auditor.pick(Status::Stopping, choice) {
                    Some(instance) => { auditor.alive.remove(&instance); PoolEvent::Stopped(instance) }
                    None => continue,
                },
                8 => match auditor.pick(Status::Starting, choice) {
                    Some(instance) => { auditor.alive.remove(&instance); PoolEvent::StartFailed(instance) }
                    None => continue,
                },
                _ => match choice % 50 {
                    49 => PoolEvent::Closed,
                    0..16 => PoolEvent::Retired(version(['a', 'b', 'c', 'd'][choice % 4])),
                    16..32 => { now = now.plus(Duration::from_secs(30)); PoolEvent::Tick }
                    _ => PoolEvent::Abandoned(Ticket(choice as u64 % (next_ticket + 1))),
                },
            };
            play(&mut pool, &mut auditor, now, event);
        }
        // Everything still on its way is brought to its end: then nobody may wait any more.
        for _ in 0..10_000 {
            now = now.plus(Duration::from_millis(50));
            let event = if let Some(instance) = auditor.pick(Status::Starting, 0) {
                auditor.alive.get_mut(&instance).expect("picked").0 = Status::Idle;
                PoolEvent::Ready(instance)
            } else if let Some(instance) = auditor.pick(Status::Busy, 0) {
                auditor.alive.get_mut(&instance).expect("picked").0 = Status::Idle;
                let ticket = auditor.running.remove(&instance).expect("it ran");
                auditor.open.remove(&ticket.0);
                PoolEvent::Finished { instance, reusable: true }
            } else if let Some(instance) = auditor.pick(Status::Stopping, 0) {
                auditor.alive.remove(&instance);
                PoolEvent::Stopped(instance)
            } else {
                break;
            };
            play(&mut pool, &mut auditor, now, event);
        }
        prop_assert!(auditor.open.is_empty(), "lost waiters: {:?}", auditor.open);
        prop_assert_eq!(pool.census().waiting, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn nobody_waits_for_ever_while_others_keep_coming(choices in proptest::collection::vec(0_usize..1000, 1500)) {
        let mut pool = Pool::new(PoolLimits { waiting_max: 20, ..limits() });
        let mut auditor = Auditor::default();
        let sizes = [('a', 128), ('b', 128), ('c', 256), ('d', 512)];
        let memory: HashMap<VersionId, u32> = sizes.iter().map(|(c, m)| (version(*c), *m)).collect();
        let mut now = Timestamp::from_millis(1);
        let mut since = BTreeMap::new();
        let mut next_ticket = 0;
        for (round, choice) in choices.into_iter().enumerate() {
            now = now.plus(Duration::from_millis(50));
            let mut events = Vec::new();
            // Whoever may wait comes at once; the small ones come first.
            for (letter, _) in sizes {
                next_ticket += 1;
                auditor.open.insert(next_ticket);
                since.insert(next_ticket, round);
                let version = version(letter);
                events.push(PoolEvent::Arrived { ticket: Ticket(next_ticket), version, memory_mib: memory[&version] });
            }
            if let Some(instance) = auditor.pick(Status::Starting, choice) {
                events.push(PoolEvent::Ready(instance));
            }
            if let Some(instance) = auditor.pick(Status::Busy, choice) {
                events.push(PoolEvent::Finished { instance, reusable: true });
            }
            if let Some(instance) = auditor.pick(Status::Stopping, choice) {
                events.push(PoolEvent::Stopped(instance));
            }
            for event in events {
                match event {
                    PoolEvent::Ready(instance) => {
                        auditor.alive.get_mut(&instance).expect("picked").0 = Status::Idle;
                    }
                    PoolEvent::Finished { instance, .. } => {
                        auditor.alive.get_mut(&instance).expect("picked").0 = Status::Idle;
                        let ticket = auditor.running.remove(&instance).expect("it ran");
                        auditor.open.remove(&ticket.0);
                    }
                    PoolEvent::Stopped(instance) => drop(auditor.alive.remove(&instance)),
                    _ => {}
                }
                let mut effects = Vec::new();
                pool.step(event, now, &mut effects);
                auditor.audit(&effects, &memory);
            }
            since.retain(|ticket, _| auditor.open.contains(ticket) && auditor.running.values().all(|it| it.0 != *ticket));
            let longest = since.first_key_value().map_or(0, |(_, since)| round - since);
            prop_assert!(longest < 600, "somebody waits for {longest} rounds: {:?}", pool.census());
        }
    }
}
