//! Where a guest lives: behind the wall, or bare, for benchmarks and tests of everything but the wall.

use std::error::Error;
use std::os::fd::OwnedFd;

use crate::bare::{self, BareCell};
use crate::packs::Start;
use crate::spec::InstanceSpec;
use crate::wall::{self, CellSpec, Exit, TASK_DIR, Wall};

/// How cells are made.
#[derive(Clone)]
pub(crate) enum Maker {
    /// Behind the wall.
    Walled(Wall),
    /// Without a wall.
    Bare,
}

/// A cell whose guest has been let go, with the ends of everything that leads into it.
pub(crate) struct Made {
    pub(crate) cell: Cell,
    pub(crate) frames: OwnedFd,
    pub(crate) output: OwnedFd,
    pub(crate) runtime_listener: OwnedFd,
    pub(crate) sdk_listener: OwnedFd,
}

/// The life of a guest; dropping it ends the guest.
pub(crate) enum Cell {
    Walled(wall::Cell),
    Bare(BareCell),
}

impl Maker {
    pub(crate) async fn make(
        &self,
        start: &Start,
        spec: &InstanceSpec,
    ) -> Result<Made, Box<dyn Error + Send + Sync + 'static>> {
        match self {
            Self::Bare => Ok(bare::make(start, &spec.code_dir)?),
            Self::Walled(wall) => {
                let launched = wall
                    .launch(CellSpec {
                        argv: start.argv.clone(),
                        env: start.env.clone(),
                        cwd: TASK_DIR.to_owned(),
                        code_dir: Some(spec.code_dir.clone()),
                        runtime_files: start.runtime_files.clone(),
                        interpreter_prefix: start.interpreter_prefix.clone(),
                        memory_mib: spec.memory_mib,
                        ephemeral_mib: spec.ephemeral_mib,
                    })
                    .await?;
                Ok(Made {
                    cell: Cell::Walled(launched.cell),
                    frames: launched.frames,
                    output: launched.output,
                    runtime_listener: launched.runtime_listener,
                    sdk_listener: launched.sdk_listener,
                })
            }
        }
    }
}

impl Cell {
    /// Returns when the guest's main process has ended. Cancel-safe; repeats its answer.
    pub(crate) async fn exited(&mut self) -> Exit {
        match self {
            Self::Walled(cell) => cell.exited().await,
            Self::Bare(cell) => cell.exited().await,
        }
    }

    /// The most memory it has used.
    pub(crate) fn memory_used_mib(&self) -> u32 {
        match self {
            Self::Walled(cell) => cell.memory_used_mib(),
            Self::Bare(cell) => cell.memory_used_mib(),
        }
    }

    /// Ends the guest; does not wait for it.
    pub(crate) fn kill(&self) {
        match self {
            Self::Walled(cell) => cell.kill(),
            Self::Bare(cell) => cell.kill(),
        }
    }

    /// Whether it has something to do.
    pub(crate) fn set_busy(&self, busy: bool) {
        if let Self::Walled(cell) = self {
            cell.set_busy(busy);
        }
    }

    /// Ends the guest and returns once nothing of it is left.
    pub(crate) async fn ended(self) {
        match self {
            Self::Walled(cell) => cell.ended().await,
            Self::Bare(cell) => cell.ended().await,
        }
    }
}
