//! The pool's rules as scripts, and a random walk that holds its invariants at every step.

use std::collections::{BTreeSet, HashMap};

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
/// good, `L`ost, `S`topped, `!` start failed, `-` abandoned, `Q` retired, `T` seconds pass.
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
                _ => match choice % 3 {
                    0 => PoolEvent::Retired(version(['a', 'b', 'c', 'd'][choice % 4])),
                    1 => { now = now.plus(Duration::from_secs(30)); PoolEvent::Tick }
                    _ => PoolEvent::Abandoned(Ticket(choice as u64 % (next_ticket + 1))),
                },
            };
            play(&mut pool, &mut auditor, now, event);
        }
        // Everything still on its way is brought to its end: then nobody may wait any more.
        for _ in 0..10_000 {
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
