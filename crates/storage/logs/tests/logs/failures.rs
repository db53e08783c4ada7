//! What happens when commits conflict, fail, or the platform dies at one of them.

use store::memory::{Crash, CrashMoment, Faults};

use crate::script::World;

/// Operations that change something, one after the other.
const OPERATIONS: [&str; 9] = [
    "create-group a",
    "create-stream a s",
    "put a s 1:one",
    "create-stream a t",
    "put a t 2:two",
    "create-group b",
    "delete-stream a s",
    "delete-group a",
    "create-group a",
];

/// All that can be seen.
async fn see(world: &mut World) -> String {
    let mut seen = String::new();
    for ask in ["groups", "streams a", "streams a by-time", "find a", "group a", "stream a s", "stream a t"] {
        seen.push_str(&format!("{ask}: {}\n", world.act(ask).await));
    }
    seen
}

#[tokio::test]
async fn a_crash_at_any_commit_loses_nothing_acknowledged_and_leaves_nothing_half_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::open(folder.path(), false).await;
    let mut states = vec![see(&mut world).await];
    for operation in OPERATIONS {
        assert_eq!(world.act(operation).await, "ok", "{operation}");
        states.push(see(&mut world).await);
    }
    // Looking writes statistics; without it there are fewer commits.
    let commits = world.memory.commits();
    world.logs.close().await;

    let mut crashes = 0;
    for moment in [CrashMoment::Before, CrashMoment::After] {
        for commit in 1..=commits {
            let folder = tempfile::tempdir().expect("a folder");
            let mut world = World::open(folder.path(), false).await;
            world.memory.set_faults(Faults { crash: Some(Crash { commit, moment }), ..Faults::default() });
            let mut acknowledged = 0;
            for operation in OPERATIONS {
                if world.act(operation).await != "ok" {
                    break;
                }
                acknowledged += 1;
            }
            crashes += usize::from(world.memory.is_crashed());
            world.reopen(true).await;
            let seen = see(&mut world).await;
            // What was asked for, but not acknowledged, may have happened or not.
            let possible = &states[acknowledged..(acknowledged + 2).min(states.len())];
            assert!(
                possible.contains(&seen),
                "commit {commit} {moment:?} after {acknowledged}:\n{seen}\nnot in {possible:#?}"
            );
            world.logs.close().await;
        }
    }
    assert!(crashes >= 2 * OPERATIONS.len() - 4, "{crashes} crashes");
}

#[tokio::test]
async fn conflicts_are_decided_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::open(folder.path(), false).await;
    for operation in OPERATIONS {
        world.memory.set_faults(Faults { conflicts: 3, ..Faults::default() });
        assert_eq!(world.act(operation).await, "ok", "{operation}");
        world.memory.set_faults(Faults::default());
    }
    world.memory.set_faults(Faults { conflicts: 2, ..Faults::default() });
    world.act("write b s 1:line").await;
    assert_eq!(world.act("find b").await, "s:line");
    world.memory.set_faults(Faults { conflicts: 1000, ..Faults::default() });
    let refused = world.act("create-group c").await;
    assert!(refused.starts_with("A conflicting operation is currently in progress"), "{refused}");
    world.memory.set_faults(Faults::default());
    world.logs.close().await;
}

#[tokio::test]
async fn lines_wait_for_a_store_that_is_slow() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::open(folder.path(), false).await;
    let delay = std::time::Duration::from_millis(50);
    world.memory.set_faults(Faults { commit_delay: delay, read_delay: delay, ..Faults::default() });
    let before = std::time::Instant::now();
    for n in 0..100 {
        world.act(&format!("write g s{n} 1:line")).await;
    }
    assert!(before.elapsed() < delay, "lines waited for the store");
    world.memory.set_faults(Faults::default());
    let found = world.act("find g").await;
    assert_eq!(found.split_whitespace().count(), 100, "{found}");
    world.logs.close().await;
}

#[tokio::test]
async fn lines_wait_for_a_disk_that_refuses_them_and_puts_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::open(folder.path(), false).await;
    assert_eq!(world.act("create-group a").await, "ok");
    assert_eq!(world.act("create-stream a s").await, "ok");
    // Without its folder no segment can be made.
    let (place, away) = (folder.path().join("segments/logs"), folder.path().join("segments/away"));
    std::fs::rename(&place, &away).expect("moved");
    world.act("write b s 1:line 2:another").await;
    assert!(!world.logs.written().await, "nothing is written");
    assert_eq!(world.act("find b").await, "");
    assert_ne!(world.act("put a s 3:refused").await, "ok");
    std::fs::rename(&away, &place).expect("put back");
    assert!(world.logs.written().await);
    assert_eq!(world.act("find b").await, "s:line s:another");
    assert_eq!(world.act("find a").await, "", "what was refused is not kept");
    assert_eq!(world.act("put a s 4:taken").await, "ok");
    assert_eq!(world.act("find a").await, "s:taken");
    assert_eq!(world.metrics.log_bytes_dropped.get(), 0);
    world.logs.close().await;
}
