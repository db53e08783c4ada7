//! How a function is stored: its environment is sealed, all else is plain.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::function::Function;
use model::ids::FunctionId;
use serde::{Deserialize, Serialize};
use store::seal::{MasterKey, UnsealError};
use store::{Key, Record, Shard};

use crate::ports::Contents;

pub(crate) fn shard() -> Shard {
    Shard::new(&["functions"])
}

pub(crate) fn key(id: &FunctionId) -> Key {
    shard().key(&[id.account.as_str(), id.region.as_str(), id.name.as_str()])
}

/// A function with its environment taken out and sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FunctionRecord {
    function: Function,
    /// JSON of the environment, sealed with the function's ARN and incarnation as context, in base64; absent if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment_sealed: Option<String>,
}

impl Record for FunctionRecord {
    const KIND: &'static str = "function";
    const VERSION: u32 = 1;
}

impl FunctionRecord {
    pub(crate) fn seal(function: &Function, master: &MasterKey) -> Self {
        let mut function = function.clone();
        let environment = std::mem::take(&mut function.settings.environment);
        let environment_sealed = if environment.is_empty() {
            None
        } else {
            let plain = serde_json::to_vec(&environment).expect("a map of text to text is JSON");
            Some(STANDARD.encode(master.seal(&context(&function), &plain)))
        };
        Self { function, environment_sealed }
    }

    pub(crate) fn name(&self) -> String {
        self.function.id.arn()
    }

    pub(crate) fn open(self, master: &MasterKey) -> Result<Function, UnsealError> {
        let mut function = self.function;
        if let Some(sealed) = self.environment_sealed {
            let sealed = STANDARD.decode(sealed).map_err(|_| UnsealError)?;
            let plain = master.unseal(&context(&function), &sealed)?;
            let environment: BTreeMap<String, String> = serde_json::from_slice(&plain).map_err(|_| UnsealError)?;
            function.settings.environment = environment;
        }
        Ok(function)
    }
}

fn context(function: &Function) -> Vec<u8> {
    format!("environment {} {}", function.id.arn(), function.incarnation).into_bytes()
}

/// What is known of a package's contents, so that it need not be unpacked to be checked again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackageRecord {
    pub(crate) zip_bytes: u64,
    pub(crate) contents: Contents,
}

impl Record for PackageRecord {
    const KIND: &'static str = "package";
    const VERSION: u32 = 1;
}

pub(crate) fn package_shard() -> Shard {
    Shard::new(&["packages"])
}
