//! Runs cases, and programs in cells and outside.

use std::future::Future;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sandbox::wall::{Cell, CellSpec, Exit, Launched, Wall, WallOptions, Weaken};

/// Everything that is waited for comes well before this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// An ordinary user that owns nothing on any machine.
const ORDINARY_ID: u32 = 54_321;

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Box<dyn Fn(&World)>,
}

pub(crate) fn case(name: impl Into<String>, run: impl Fn(&World) + 'static) -> Case {
    Case { name: name.into(), run: Box::new(run) }
}

/// A folder that every user can reach, with the probe program in it.
pub(crate) struct World {
    dir: tempfile::TempDir,
    walls: AtomicU32,
}

/// What became of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) output: Vec<u8>,
    pub(crate) memory_used_mib: u32,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim().to_owned()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self { dir, walls: AtomicU32::new(0) };
        // The ordinary user's run gets the program that root's run has compiled.
        let given = std::env::var_os("WALL_TEST_PROBE").map(PathBuf::from);
        std::fs::create_dir(world.dir.path().join("code")).unwrap();
        match given {
            Some(given) => drop(std::fs::copy(given, world.probe()).unwrap()),
            None => {
                let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wall/probe.c");
                let compiled =
                    Command::new("cc").args(["-O1", "-static", "-o"]).arg(world.probe()).arg(source).status();
                assert!(compiled.unwrap().success(), "a C compiler is needed");
            }
        }
        world
    }

    pub(crate) fn is_root(&self) -> bool {
        std::fs::metadata("/proc/self").unwrap().uid() == 0
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn code_dir(&self) -> PathBuf {
        self.dir.path().join("code")
    }

    pub(crate) fn probe(&self) -> PathBuf {
        self.code_dir().join("probe")
    }

    pub(crate) fn options(&self) -> WallOptions {
        let number = self.walls.fetch_add(1, Ordering::Relaxed);
        WallOptions {
            label: format!("test-{}-{number}", std::process::id()),
            state_dir: self.dir.path().join(format!("state-{number}")),
            allow_weak: false,
            uid_base: 700_000,
            spares: 1,
            program: None,
            weaken: Weaken::default(),
        }
    }

    pub(crate) fn wall(&self) -> Wall {
        Wall::start(self.options()).unwrap()
    }

    pub(crate) fn spec(&self, words: &[&str]) -> CellSpec {
        CellSpec {
            argv: std::iter::once("/var/task/probe").chain(words.iter().copied()).map(str::to_owned).collect(),
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            cwd: "/tmp".to_owned(),
            code_dir: Some(self.code_dir()),
            memory_mib: 128,
            ephemeral_mib: 512,
            ..CellSpec::default()
        }
    }

    /// Runs the probe outside; whether the act succeeded, and what it said.
    pub(crate) fn outside(&self, words: &[&str]) -> (bool, String) {
        let output = Command::new(self.probe()).args(words).current_dir(self.dir()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) fn run(&self, cases: &[Case], filter: &str) -> usize {
        let user = if self.is_root() { "root" } else { "ordinary user" };
        let mut failed = 0;
        for case in cases.iter().filter(|case| case.name.contains(filter)) {
            let begin = Instant::now();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (case.run)(self)));
            let word = if outcome.is_ok() { "ok" } else { "FAILED" };
            println!("{word:<6} as {user}: {} ({} ms)", case.name, begin.elapsed().as_millis());
            failed += usize::from(outcome.is_err());
        }
        failed
    }

    /// The same cases again without rights, from a copy of this program that such a user can read.
    pub(crate) fn run_as_ordinary_user(&self, filter: &str) -> usize {
        if !self.is_root() {
            return 0;
        }
        let program = self.dir.path().join("wall-tests");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let home = self.dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(ORDINARY_ID), Some(ORDINARY_ID)).unwrap();
        let status = Command::new(program)
            .arg(filter)
            .env("TMPDIR", &home)
            .env("WALL_TEST_PROBE", self.probe())
            .current_dir(&home)
            .uid(ORDINARY_ID)
            .gid(ORDINARY_ID)
            .status()
            .unwrap();
        usize::from(!status.success())
    }
}

/// Runs a future on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("in time") })
}

/// Runs a program in a cell to its end.
pub(crate) async fn run(wall: &Wall, spec: CellSpec) -> Outcome {
    let Launched { mut cell, output, .. } = wall.launch(spec).await.unwrap();
    cell.set_busy(true);
    let reader = read_all(output);
    let exit = cell.exited().await;
    let output = reader.await.unwrap();
    let memory_used_mib = cell.memory_used_mib();
    cell.ended().await;
    Outcome { exit, output, memory_used_mib }
}

/// Reads to the end on a thread of its own.
pub(crate) fn read_all(output: OwnedFd) -> tokio::task::JoinHandle<Vec<u8>> {
    rustix::io::ioctl_fionbio(&output, false).unwrap();
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::fs::File::from(output).read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Ends a cell and waits until nothing of it is left.
pub(crate) async fn end(cell: Cell) {
    cell.kill();
    cell.ended().await;
}

/// Waits for a state, not for a time.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < DEADLINE, "{what} within {} s", DEADLINE.as_secs());
        std::thread::sleep(Duration::from_millis(2));
    }
}
