//! Whole behaviours: what floods, fills, forks or hides is contained, and a neighbour still answers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbox::wall::{Exit, LaunchError, Launched, Tier, Wall, Weaken};

use crate::harness::{Case, World, block_on, case, end, read_all, run, wait_until};

/// Launches whose median is taken.
const ROUNDS: usize = 41;
/// A spare's own preparation is not what is measured.
const SETTLE: Duration = Duration::from_millis(20);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("the_tier_is_full_as_root_and_at_least_reduced_otherwise", tier),
        case("a_guest_gets_its_code_files_environment_and_descriptors", gets_what_it_is_given),
        case("listeners_lead_into_the_cell", listeners_lead_in),
        case("a_prepared_cell_is_quicker_than_one_made_for_the_start", overhead),
        case("a_missing_program_is_one_line_and_code_127", missing_program),
        case("a_fork_bomb_is_contained_and_a_neighbour_answers", fork_bomb),
        case("a_memory_bomb_is_out_of_memory_and_a_neighbour_answers", memory_bomb),
        case("many_processes_together_are_out_of_memory", memory_of_many),
        case("a_full_tmp_is_an_error_for_the_guest_and_not_its_end", disk_filler),
        case("a_tmp_full_of_files_is_an_error_for_the_guest", inode_filler),
        case("an_infinite_loop_ends_when_it_is_killed", infinite_loop),
        case("a_gigabyte_of_output_passes_without_harm", output_flood),
        case("orphans_end_with_the_guest", orphans),
        case("killing_init_changes_nothing", kill_init),
        case("two_cells_share_nothing", two_cells),
        case("nothing_is_left_of_a_hundred_cells", nothing_left),
        case("without_a_pid_namespace_everything_still_ends", without_pid_namespace),
        case("without_control_groups_memory_is_still_watched", without_cgroups),
        case("without_namespaces_guests_run_only_when_allowed", without_namespaces),
        case("a_runtime_that_ends_takes_its_cells_with_it", runtime_ends),
        case("a_leftover_of_the_same_label_is_swept_and_no_other", sweep),
    ]
}

async fn neighbour_answers(wall: &Wall, world: &World) {
    let outcome = run(wall, world.spec(&["nothing"])).await;
    assert_eq!(outcome.exit, Exit::Code(0), "{}", outcome.text());
}

fn tier(world: &World) {
    let wall = world.wall();
    let text = wall.probes().to_string();
    if world.is_root() {
        assert_eq!(wall.tier(), Tier::Full, "{text}");
    } else {
        assert!(wall.tier() >= Tier::Reduced, "{text}");
        assert_eq!(wall.tier() == Tier::Full, wall.probes().missing().is_empty(), "{text}");
    }
}

fn gets_what_it_is_given(world: &World) {
    block_on(async {
        let mut spec = world.spec(&[]);
        let script = "pwd; echo $WORD; cat /var/runtime/hello; stat -c %a /var/runtime/hello; ls /var/task; df -m /tmp | tail -1 \
                      | awk '{print $2}'; echo to-frames >&3; hostname 2>/dev/null || cat /etc/hostname";
        spec.argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        spec.env.push(("WORD".to_owned(), "a value\nwith 'all' = in it".to_owned()));
        spec.cwd = "/var/task".to_owned();
        spec.runtime_files = vec![("hello".to_owned(), Bytes::from_static(b"hi\n"))];
        let Launched { mut cell, output, frames, .. } = world.wall().launch(spec).await.unwrap();
        assert_eq!(cell.exited().await, Exit::Code(0));
        let output = read_all(output).await.unwrap();
        let mut lines: Vec<String> = String::from_utf8(output).unwrap().lines().map(str::to_owned).collect();
        lines.retain(|line| line != "written");
        assert_eq!(lines, ["/var/task", "a value with 'all' = in it", "hi", "755", "probe", "512", "localhost"]);
        let framed = read_all(frames).await.unwrap();
        assert_eq!(framed, b"to-frames\n");
        cell.ended().await;
    });
}

fn listeners_lead_in(world: &World) {
    block_on(async {
        for port in ["9001", "4566"] {
            let Launched { mut cell, runtime_listener, sdk_listener, output, .. } =
                world.wall().launch(world.spec(&["connect", port])).await.unwrap();
            let listener = if port == "9001" { runtime_listener } else { sdk_listener };
            assert_eq!(cell.exited().await, Exit::Code(0), "{:?}", read_all(output).await);
            let listener = std::net::TcpListener::from(listener);
            let (_, peer) = listener.accept().unwrap();
            assert!(peer.ip().is_loopback());
            cell.ended().await;
        }
    });
}

/// From the call to the end of a program that does nothing: outside, in a prepared cell, in one that must be made first.
fn overhead(world: &World) {
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let measure = |spares: usize| {
        let mut options = world.options();
        options.spares = spares;
        let label = options.label.clone();
        block_on(async {
            let wall = Wall::start(options).unwrap();
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                // Launcher, and init and waiting guest of the spare.
                wait_until("the spare is there", || processes_of(&label).len() > 2 * spares);
                tokio::time::sleep(SETTLE).await;
                let begin = Instant::now();
                let Launched { mut cell, .. } = wall.launch(world.spec(&["nothing"])).await.unwrap();
                assert_eq!(cell.exited().await, Exit::Code(0));
                times.push(begin.elapsed());
                cell.ended().await;
            }
            median(times)
        })
    };
    let (prepared, made) = (measure(1), measure(0));
    println!("       in a prepared cell {prepared:?}, in a cell made for it {made:?}");
    // How much the wall adds is measured by a benchmark, on a machine that does nothing else.
    assert!(prepared < made, "prepared {prepared:?}, made {made:?}");
}

fn missing_program(world: &World) {
    block_on(async {
        let mut spec = world.spec(&[]);
        spec.argv = vec!["/var/task/bootstrap".to_owned()];
        let outcome = run(&world.wall(), spec).await;
        assert_eq!(outcome.exit, Exit::Code(127));
        assert_eq!(
            outcome.text(),
            "cannot start the runtime: /var/task/bootstrap (No such file or directory (os error 2))"
        );
    });
}

fn fork_bomb(world: &World) {
    block_on(async {
        let wall = world.wall();
        let Launched { cell, output, .. } = wall.launch(world.spec(&["timestamps-and-fork-bomb"])).await.unwrap();
        let _reader = read_all(output);
        neighbour_answers(&wall, world).await;
        let begin = Instant::now();
        end(cell).await;
        assert!(begin.elapsed() < Duration::from_secs(20), "the bomb took {:?} to end", begin.elapsed());
        neighbour_answers(&wall, world).await;
    });
}

/// Cells and launches on their way are dropped by a runtime that runs nothing any more.
fn runtime_ends(world: &World) {
    let wall = world.wall();
    for round in 0..10_u64 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        for _ in 0..4 {
            let (wall, spec) = (wall.clone(), world.spec(&["loop"]));
            runtime.spawn(async move {
                let _launched = wall.launch(spec).await;
                std::future::pending::<()>().await;
            });
        }
        // The end comes at another step of a launch in each round.
        std::thread::sleep(Duration::from_millis(round * 4));
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
    block_on(neighbour_answers(&wall, world));
}

fn memory_bomb(world: &World) {
    block_on(async {
        let wall = world.wall();
        let bomb = tokio::spawn({
            let (wall, spec) = (wall.clone(), world.spec(&["memory-bomb"]));
            async move { run(&wall, spec).await }
        });
        neighbour_answers(&wall, world).await;
        let outcome = bomb.await.unwrap();
        assert_eq!(outcome.exit, Exit::OutOfMemory, "{}", outcome.text());
        assert_eq!(outcome.memory_used_mib, 128);
        neighbour_answers(&wall, world).await;
    });
}

fn memory_of_many(world: &World) {
    block_on(async {
        let mut spec = world.spec(&[]);
        spec.argv = ["/bin/sh", "-c", "for n in 1 2 3 4 5 6; do /var/task/probe memory-bomb & done; wait"]
            .map(str::to_owned)
            .to_vec();
        let outcome = run(&world.wall(), spec).await;
        assert_eq!(outcome.exit, Exit::OutOfMemory);
    });
}

fn disk_filler(world: &World) {
    block_on(async {
        let mut spec = world.spec(&[]);
        let script = "/var/task/probe fill-disk /tmp/file; rm /tmp/file; echo small > /tmp/other; cat /tmp/other";
        spec.argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let outcome = run(&world.wall(), spec).await;
        assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(0), "after 512 MiB: write: ENOSPC\nsmall"));
    });
}

fn inode_filler(world: &World) {
    block_on(async {
        let outcome = run(&world.wall(), world.spec(&["fill-inodes", "/tmp"])).await;
        assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), "open: ENOSPC"));
    });
}

fn infinite_loop(world: &World) {
    block_on(async {
        let wall = world.wall();
        let Launched { mut cell, .. } = wall.launch(world.spec(&["loop"])).await.unwrap();
        cell.set_busy(true);
        neighbour_answers(&wall, world).await;
        cell.kill();
        assert_eq!(cell.exited().await, Exit::Signal(libc::SIGKILL));
        cell.ended().await;
    });
}

fn output_flood(world: &World) {
    block_on(async {
        let Launched { mut cell, output, .. } = world.wall().launch(world.spec(&["flood"])).await.unwrap();
        rustix::io::ioctl_fionbio(&output, false).unwrap();
        let counted = tokio::task::spawn_blocking(move || {
            std::io::copy(&mut std::fs::File::from(output), &mut std::io::sink()).unwrap()
        });
        assert_eq!(cell.exited().await, Exit::Code(0));
        assert_eq!(counted.await.unwrap(), 1 << 30);
        cell.ended().await;
    });
}

fn orphans(world: &World) {
    block_on(async {
        let Launched { mut cell, output, .. } = world.wall().launch(world.spec(&["orphan"])).await.unwrap();
        let reader = read_all(output);
        assert_eq!(cell.exited().await, Exit::Code(0));
        // The end of the pipe: the orphan that wrote into it is gone too.
        assert!(!reader.await.unwrap().is_empty(), "the orphan must have run");
        cell.ended().await;
    });
}

fn kill_init(world: &World) {
    block_on(async {
        // The signal is sent without an error, since the guest may signal its own user's processes, or refused; either way
        // init lives on and reports the guest's own end.
        let outcome = run(&world.wall(), world.spec(&["kill-init"])).await;
        assert!(matches!(outcome.exit, Exit::Code(0 | 1)), "{outcome:?}");
    });
}

fn two_cells(world: &World) {
    block_on(async {
        let wall = world.wall();
        let mut writer = world.spec(&[]);
        writer.argv = ["/bin/sh", "-c", "echo secret > /tmp/mine; echo ready; sleep 1000"].map(str::to_owned).to_vec();
        let first = wall.launch(writer).await.unwrap();
        let first_uid = first_line(&first.output).await;
        assert_eq!(first_uid, "ready");
        let mut reader = world.spec(&[]);
        reader.argv =
            ["/bin/sh", "-c", "ls -A /tmp; ps -e -o comm= | sort -u | tr '\\n' ' '"].map(str::to_owned).to_vec();
        let outcome = run(&wall, reader).await;
        assert!(!outcome.text().contains("mine") && !outcome.text().contains("sleep"), "{}", outcome.text());
        end(first.cell).await;
    });
}

async fn first_line(output: &std::os::fd::OwnedFd) -> String {
    let output = output.try_clone().unwrap();
    rustix::io::ioctl_fionbio(&output, false).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(std::fs::File::from(output)), &mut line).unwrap();
        line.trim().to_owned()
    });
    read.await.unwrap()
}

fn nothing_left(world: &World) {
    let options = world.options();
    let label = options.label.clone();
    block_on(async {
        let wall = Wall::start(options).unwrap();
        neighbour_answers(&wall, world).await;
        let before = open_descriptors();
        for _ in 0..100 {
            neighbour_answers(&wall, world).await;
        }
        // The spare that is being made may add or miss a few at either moment.
        assert!(open_descriptors() <= before + 6, "{} descriptors became {}", before, open_descriptors());
        wait_until("one spare is left", || processes_of(&label).len() <= 3 && cgroups_of(&label) <= 3);
    });
    wait_until("nothing is left", || processes_of(&label).is_empty() && cgroups_of(&label) == 0);
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Launcher, inits and waiting guests of a wall.
pub(crate) fn processes_of(label: &str) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.split(|byte| *byte == 0).any(|word| word == label.as_bytes()) {
            found.insert(pid);
        }
    }
    found
}

/// Folders of cells in all hierarchies of control groups.
pub(crate) fn cgroups_of(label: &str) -> usize {
    fn count(folder: &std::path::Path, name: &str, depth: u32) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders
            .map(|entry| {
                let cells = || {
                    std::fs::read_dir(entry.path()).map_or(0, |cells| {
                        cells.flatten().filter(|cell| cell.file_name().to_string_lossy().starts_with("cell-")).count()
                    })
                };
                let here = if entry.file_name().to_string_lossy() == name { cells() } else { 0 };
                here + if depth == 0 { 0 } else { count(&entry.path(), name, depth - 1) }
            })
            .sum()
    }
    count(std::path::Path::new("/sys/fs/cgroup"), &format!("pinfold-{label}"), 4)
}

fn without_pid_namespace(world: &World) {
    let mut options = world.options();
    options.weaken = Weaken { without_pid_namespace: true, ..Weaken::default() };
    block_on(async {
        let wall = Wall::start(options).unwrap();
        assert_eq!(wall.tier(), Tier::Reduced);
        let Launched { mut cell, output, .. } = wall.launch(world.spec(&["orphan"])).await.unwrap();
        let reader = read_all(output);
        assert_eq!(cell.exited().await, Exit::Code(0));
        reader.await.unwrap();
        cell.ended().await;
        let Launched { cell, output, .. } = wall.launch(world.spec(&["timestamps-and-fork-bomb"])).await.unwrap();
        let reader = read_all(output);
        end(cell).await;
        reader.await.unwrap();
        let outcome = run(&wall, world.spec(&["find-process", "wall-tests"])).await;
        assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), "scan: ENOENT"));
    });
}

fn without_cgroups(world: &World) {
    let mut options = world.options();
    options.weaken = Weaken { without_cgroups: true, ..Weaken::default() };
    block_on(async {
        let wall = Wall::start(options).unwrap();
        assert_eq!(wall.tier(), Tier::Reduced);
        let outcome = run(&wall, world.spec(&["memory-bomb"])).await;
        assert_eq!(outcome.exit, Exit::OutOfMemory);
        neighbour_answers(&wall, world).await;
    });
}

fn without_namespaces(world: &World) {
    let weaken = Weaken { without_namespaces: true, without_cgroups: true, ..Weaken::default() };
    let mut refused = world.options();
    refused.weaken = weaken;
    let mut allowed = world.options();
    allowed.weaken = weaken;
    allowed.allow_weak = true;
    std::fs::write(world.code_dir().join("written"), b"x").unwrap();
    block_on(async {
        let wall = Wall::start(refused).unwrap();
        assert_eq!(wall.tier(), Tier::Refused);
        assert!(matches!(wall.launch(world.spec(&["nothing"])).await, Err(LaunchError::Refused { .. })));
        let wall = Wall::start(allowed).unwrap();
        assert_eq!(wall.tier(), Tier::Weak);
        neighbour_answers(&wall, world).await;
        for (words, said) in [
            (&["read", "/etc/fstab"][..], "open: EACCES"),
            (&["mount"], "unshare: EPERM"),
            (&["ptrace"], "ptrace: EPERM"),
            (&["write", "/var/task/written"], "open: EACCES"),
        ] {
            let outcome = run(&wall, world.spec(words)).await;
            assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), said), "{words:?}");
        }
    });
}

fn sweep(world: &World) {
    let (left, other) = (world.options(), world.options());
    let (label, other_label) = (left.label.clone(), other.label.clone());
    // A platform that died without a chance to tidy up: nothing is dropped.
    let _forgotten = std::mem::ManuallyDrop::new(Wall::start(left.clone()).unwrap());
    let _other = Wall::start(other).unwrap();
    let old = processes_of(&label);
    let others = processes_of(&other_label);
    assert!(!old.is_empty() && !others.is_empty());
    let _new = Wall::start(left).unwrap();
    assert!(processes_of(&label).is_disjoint(&old), "all that was left is gone");
    assert!(!processes_of(&other_label).is_empty(), "the other platform goes on");
}
