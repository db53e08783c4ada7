//! The platform's sudden death: whatever kills it, its guests end at once.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use sandbox::wall::{Launched, Wall};

use crate::behaviour::{cgroups_of, processes_of};
use crate::harness::{Case, World, case, wait_until};

/// No guest instruction may run later than this after the platform's death.
const LATE_NANOS_MAX: u64 = 100_000_000;
const TRIES: usize = 3;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("no_guest_runs_100_ms_after_the_platform_is_killed", |world| killed(world, "timestamps")),
        case("a_fork_bomb_ends_with_the_platform", |world| killed(world, "timestamps-and-fork-bomb")),
    ]
}

/// Plays the platform: starts a guest, says where its output can be read, and waits to be killed.
pub(crate) fn serve(words: &[String]) {
    // As a daemon or in a terminal of its own: the kernel shares the processor out by session.
    rustix::process::setsid().unwrap();
    // A test that fails must not leave a bomb behind.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let world = World::new();
    let mut options = world.options();
    options.label.clone_from(&words[0]);
    let wall = Wall::start(options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let launched: Launched = wall.launch(world.spec(&[&words[1]])).await.unwrap();
        println!("{}", launched.output.as_raw_fd());
        std::future::pending::<()>().await;
    });
}

/// What another program on this machine takes from the processor is not the platform's: the best of three counts.
fn killed(world: &World, act: &str) {
    let mut late = Vec::new();
    while late.last().is_none_or(|nanos| *nanos > LATE_NANOS_MAX) {
        assert!(late.len() < TRIES, "the guest ran on for {late:?} ns after the kill");
        late.push(kill_once(world, act));
    }
    println!("       last guest instruction {late:?} ns after the kill");
}

/// For how long a guest still ran.
fn kill_once(world: &World, act: &str) -> u64 {
    let options = world.options();
    let label = options.label.clone();
    let mut platform = Command::new(std::env::current_exe().unwrap())
        .args(["platform", &label, act])
        .env("WALL_TEST_PROBE", world.probe())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut fd = String::new();
    BufReader::new(platform.stdout.take().unwrap()).read_line(&mut fd).unwrap();
    let mut output = std::fs::File::open(format!("/proc/{}/fd/{}", platform.id(), fd.trim())).unwrap();
    // The guest runs, and its bomb has had time to spread over the limit of processes.
    let mut stamps = Stamps::default();
    while stamps.count < 200 {
        // Where no control group holds a bomb, the platform ends it once it is seen.
        if !stamps.read(&mut output) {
            assert!(!world.is_root() && act != "timestamps", "the guest must still run");
            break;
        }
    }
    platform.kill().unwrap();
    // Taken after the signal was sent: this process, too, must share the processor with the bomb.
    let killed_at = now_nanos();
    while stamps.read(&mut output) {}
    let late = stamps.last.saturating_sub(killed_at);
    platform.wait().unwrap();
    wait_until("all processes of the platform are gone", || processes_of(&label).is_empty());
    assert!(!world.is_root() || cgroups_of(&label) > 0, "a killed platform cannot tidy up");
    // The next one does.
    drop(Wall::start(options).unwrap());
    wait_until("nothing of the platform is left", || processes_of(&label).is_empty() && cgroups_of(&label) == 0);
    late
}

#[derive(Default)]
struct Stamps {
    rest: Vec<u8>,
    last: u64,
    count: usize,
}

impl Stamps {
    /// False at the end of the pipe: no process that could write is left.
    fn read(&mut self, from: &mut std::fs::File) -> bool {
        let mut block = [0; 4096];
        let length = from.read(&mut block).unwrap();
        self.rest.extend_from_slice(&block[..length]);
        while let Some((stamp, rest)) = self.rest.split_first_chunk::<8>() {
            self.last = u64::from_ne_bytes(*stamp);
            self.count += 1;
            self.rest = rest.to_vec();
        }
        length > 0
    }
}

fn now_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
