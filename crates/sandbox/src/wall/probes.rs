//! What this machine can enforce, found by doing it, and how to get the rest.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Weaken;
use super::cgroup::Groups;
use super::host;

/// How much of the wall stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Guests do not run: without a system call filter, or without namespaces where that was not allowed.
    Refused,
    /// No namespaces: system call filter, landlock and limits only.
    Weak,
    /// All but control groups or a pid namespace.
    Reduced,
    /// All of it.
    Full,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Weak => "weak",
            Self::Reduced => "reduced",
            Self::Full => "full",
        })
    }
}

/// One thing that the wall wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// In words for the operator.
    pub name: &'static str,
    /// Whether the machine grants it.
    pub holds: bool,
    /// What was found: how it holds, or the step that failed and the kernel's reason.
    pub found: String,
    /// What the operator can do about it; empty if it holds.
    pub fix: String,
}

/// Everything that was probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    /// How much of the wall stands.
    pub tier: Tier,
    /// Each part of it.
    pub probes: Vec<Probe>,
}

/// The launcher's part: what it could make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(super) seccomp: bool,
    pub(super) landlock_abi: i32,
    /// What failed, strongest first.
    pub(super) attempts: Vec<Attempt>,
    /// What did not: with a user namespace of its own, with a pid namespace.
    pub(super) place: Option<(bool, bool)>,
}

/// A kind of cell that could not be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(super) user_namespace: bool,
    pub(super) pid_namespace: bool,
    pub(super) step: String,
    pub(super) reason: String,
}

impl Probes {
    /// Probes this machine without starting a wall. `program`: as in [`super::WallOptions`]. Blocks for some milliseconds.
    pub fn take(program: Option<PathBuf>, allow_weak: bool) -> io::Result<Self> {
        let label = format!("doctor-{}", std::process::id());
        let groups = Groups::open(&label);
        let launcher = host::spawn_launcher(program.as_deref(), &label, Weaken::default())?;
        let probes = Self::of(&launcher.found, &groups, allow_weak);
        drop(launcher);
        groups.close();
        Ok(probes)
    }

    pub(super) fn of(found: &Found, groups: &Groups, allow_weak: bool) -> Self {
        let probes = vec![seccomp(found), namespaces(found), pids(found), control_groups(groups), landlock(found)];
        let holds = |index: usize| probes.get(index).is_some_and(|probe: &Probe| probe.holds);
        let tier = match (holds(0), holds(1)) {
            (false, _) => Tier::Refused,
            (true, false) if allow_weak => Tier::Weak,
            (true, false) => Tier::Refused,
            (true, true) if holds(2) && holds(3) => Tier::Full,
            (true, true) => Tier::Reduced,
        };
        Self { tier, probes }
    }

    /// What is missing, each with its fix, in words for the operator.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.probes.iter().filter(|probe| !probe.holds);
        missing.map(|probe| format!("{}: {}. {}", probe.name, probe.found, probe.fix)).collect()
    }
}

impl fmt::Display for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "isolation: {}", self.tier)?;
        for probe in &self.probes {
            let mark = if probe.holds { "yes" } else { "NO" };
            writeln!(f, "  {:<22} {mark:<3}  {}", probe.name, probe.found)?;
            if !probe.fix.is_empty() {
                writeln!(f, "  {:<22}      {}", "", probe.fix)?;
            }
        }
        Ok(())
    }
}

fn seccomp(found: &Found) -> Probe {
    Probe {
        name: "system call filter",
        holds: found.seccomp,
        found: if found.seccomp { "seccomp" } else { "the kernel refuses seccomp filters" }.to_owned(),
        fix: if found.seccomp { "" } else { "use a kernel with CONFIG_SECCOMP_FILTER; guests never run without it" }
            .to_owned(),
    }
}

fn namespaces(found: &Found) -> Probe {
    let (text, fix) = match found.place {
        Some((false, _)) => ("made by root, each instance with a user id of its own".to_owned(), String::new()),
        Some((true, _)) => ("made through a user namespace, all instances share this user's id".to_owned(), String::new()),
        None => match found.attempts.last() {
            Some(attempt) => (
                format!("{}: {}", attempt.step, attempt.reason),
                "allow user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu 24.04), \
                 `sysctl kernel.unprivileged_userns_clone=1` (older Debian), `sysctl user.max_user_namespaces=15000`, or in a \
                 container `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`; or accept \
                 `--allow-weak-isolation`"
                    .to_owned(),
            ),
            None => ("left out".to_owned(), "or accept `--allow-weak-isolation`".to_owned()),
        },
    };
    Probe { name: "namespaces", holds: found.place.is_some(), found: text, fix }
}

fn pids(found: &Found) -> Probe {
    let holds = matches!(found.place, Some((_, true)));
    let (text, fix) = if holds {
        ("of its own for each instance, with its own /proc".to_owned(), String::new())
    } else {
        let reason = found.attempts.iter().find(|attempt| attempt.pid_namespace);
        (
            reason.map_or("left out".to_owned(), |attempt| format!("{}: {}", attempt.step, attempt.reason)),
            "in a container, start it with an unmasked /proc: `--security-opt systempaths=unconfined`".to_owned(),
        )
    };
    Probe { name: "process namespace", holds, found: text, fix }
}

fn control_groups(groups: &Groups) -> Probe {
    let (holds, text, fix) = match groups {
        Groups::None { reason } => (
            false,
            reason.clone(),
            "run under `systemd-run --user --scope -p Delegate=yes`, or as root; until then memory is watched, not limited"
                .to_owned(),
        ),
        Groups::V1(_) => (true, format!("version 1: {}", groups.controllers()), String::new()),
        Groups::V2(_) => (true, format!("version 2: {}", groups.controllers()), String::new()),
    };
    Probe { name: "control groups", holds, found: text, fix }
}

fn landlock(found: &Found) -> Probe {
    let holds = found.landlock_abi > 0;
    Probe {
        name: "landlock",
        holds,
        found: if holds { format!("version {}", found.landlock_abi) } else { "the kernel has none".to_owned() },
        fix: if holds { "" } else { "boot with landlock among the kernel's `lsm=`; the wall has other layers" }
            .to_owned(),
    }
}
