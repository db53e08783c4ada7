//! `pinfold doctor`: what this machine can enforce and run, and how to get the rest; needs no server.

use clap::{ArgAction, Args};
use sandbox::Packs;
use sandbox::wall::{Probes, Tier};
use serde_json::json;

use crate::cli::print::Look;
use crate::cli::{Context, Exit, Failure};
use crate::config::resolve::Surroundings;

#[derive(Debug, Args)]
pub struct Doctor {
    /// Judge as if `up` was told to accept weak isolation
    #[arg(long, action = ArgAction::SetTrue)]
    allow_weak_isolation: bool,
}

pub fn run(command: &Doctor, context: &Context) -> Result<Exit, Failure> {
    let probes = Probes::take(None, command.allow_weak_isolation)
        .map_err(|error| Failure::new(format!("probe this machine: {error}")))?;
    let installed = Packs::new().installed();
    let memory_mib = Surroundings::of_this_process().memory_mib;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let user = if rustix::process::geteuid().is_root() { "root" } else { "an ordinary user" };
    let runs = probes.tier != Tier::Refused;
    let out = &context.out;
    if out.is_json() {
        let parts: Vec<_> = probes
            .probes
            .iter()
            .map(|probe| json!({ "name": probe.name, "holds": probe.holds, "found": probe.found, "fix": probe.fix }))
            .collect();
        let interpreters: Vec<_> = installed
            .iter()
            .map(
                |found| json!({ "language": found.language.to_string(), "version": found.version, "path": found.path }),
            )
            .collect();
        out.json(&json!({
            "tier": probes.tier.to_string(), "runs_functions": runs, "probes": parts, "interpreters": interpreters,
            "kernel": kernel, "processor": std::env::consts::ARCH, "user": user, "memory_mib": memory_mib,
        }));
        return Ok(if runs { Exit::Done } else { Exit::Failed });
    }
    out.bytes(probes.to_string().as_bytes());
    out.line("interpreters:");
    for found in &installed {
        out.line(format_args!("  {:<22} {}", found.version, found.path.display()));
    }
    if installed.is_empty() {
        out.line(
            "  none; install python3 or nodejs (on Debian: apt install python3 nodejs); provided.al2023 needs neither",
        );
    }
    out.line(format_args!(
        "machine: Linux {kernel} on {}, {memory_mib} MiB of memory, as {user}",
        std::env::consts::ARCH
    ));
    out.line(match probes.tier {
        Tier::Full => out.paint(Look::Good, "functions run here behind the whole wall"),
        Tier::Reduced => out.paint(Look::Bold, "functions run here; what is missing above is not enforced"),
        Tier::Weak => out.paint(
            Look::Bad,
            "functions run here only because weak isolation is allowed: run only code that you trust",
        ),
        Tier::Refused => out.paint(Look::Bad, "functions do not run here until what is missing above is there"),
    });
    Ok(if runs { Exit::Done } else { Exit::Failed })
}
