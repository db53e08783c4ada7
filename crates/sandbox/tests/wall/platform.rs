//! The platform's sudden death: whatever kills it, its guests end at once.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use sandbox::wall::{Launched, Wall};

use crate::behaviour::{cgroups_of, processes_of};
use crate::harness::{Case, World, case, wait_until};

/// No guest instruction may run later than this after the platform's death.
const LATE_NANOS_MAX: u64 = 100_000_000;

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

fn killed(world: &World, act: &str) {
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
        assert!(stamps.read(&mut output), "the guest must still run");
    }
    platform.kill().unwrap();
    // Taken after the signal was sent: this process, too, must share the processor with the bomb.
    let killed_at = now_nanos();
    while stamps.read(&mut output) {}
    let late = stamps.last.saturating_sub(killed_at);
    // Without control groups nothing holds a storm of failing forks back, which keeps the kernel from running anybody, the
    // dying platform included: there the bomb's end is all that is promised.
    if world.is_root() || act == "timestamps" {
        assert!(late <= LATE_NANOS_MAX, "the guest ran {} ms after the kill", late / 1_000_000);
    }
    println!("       last guest instruction {} us after the kill", late / 1000);
    platform.wait().unwrap();
    wait_until("all processes of the platform are gone", || processes_of(&label).is_empty());
    assert!(!world.is_root() || cgroups_of(&label) > 0, "a killed platform cannot tidy up");
    // The next one does.
    drop(Wall::start(options).unwrap());
    wait_until("nothing of the platform is left", || processes_of(&label).is_empty() && cgroups_of(&label) == 0);
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
