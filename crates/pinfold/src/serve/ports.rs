//! The plugs: what one part asks of another that it may not see.

use std::path::Path;
use std::sync::Arc;

use base::chain::Chain;
use base::entropy::Entropy;
use base::time::{Clock, Timestamp};
use bytes::Bytes;
use functions::{BoxFuture, Contents, Interpreters, NativeCode, Refused, Served, Unpacker};
use gateway::{Door, Gateway};
use identity::Identity;
use invoke::ports::{Credentials, LogStream, LogStreams};
use logs::{Logs, StreamHandle};
use model::ids::{AccountId, FunctionId};
use model::names::{LogGroupName, LogStreamName, Region};
use model::runtime::Language;
use sandbox::{GuestCredentials, Refusal, Sandbox, SdkConnection, SdkDoor, UnpackError};

/// What identifies a data directory to the wall: a digest of its path, in letters that a cgroup's name may hold.
pub fn label_of(data_dir: &Path) -> String {
    // FNV-1a, 64 bits (Fowler, Noll, Vo): stable from one build to the next, and nobody's secret.
    let hash =
        data_dir.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// Unpacks behind the wall.
pub struct WalledUnpacker(pub Sandbox);

impl Unpacker for WalledUnpacker {
    fn unpack<'a>(&'a self, zip: &'a Path, into: &'a Path) -> BoxFuture<'a, Result<Contents, Refused>> {
        Box::pin(async move {
            if let Some(parent) = into.parent() {
                tokio::fs::create_dir_all(parent)
                    .await
                    .map_err(|error| Refused::Platform(format!("make {}: {error}", parent.display())))?;
            }
            let report = self.0.unpack(zip, into).await.map_err(refused)?;
            let native = report.native.into_iter().map(|file| NativeCode { path: file.path, machine: file.machine });
            Ok(Contents { bytes: report.bytes, entries: report.entries, native: native.collect() })
        })
    }
}

fn refused(error: UnpackError) -> Refused {
    match error {
        UnpackError::Refused(Refusal::TooLarge) => Refused::TooLarge,
        UnpackError::Refused(Refusal::NotZip(reason)) => Refused::NotZip(reason),
        UnpackError::Refused(Refusal::Entry(reason)) => Refused::Entry(reason),
        UnpackError::GaveUp => Refused::Entry("it took too long, or too much memory, to unpack".to_owned()),
        other => Refused::Platform(Chain(&other).to_string()),
    }
}

/// Knows what is installed.
pub struct InstalledInterpreters(pub Sandbox);

impl Interpreters for InstalledInterpreters {
    fn serve(&self, language: Language) -> Result<Served, String> {
        let served = self.0.packs().serve(language).map_err(|missing| missing.to_string())?;
        Ok(Served {
            language: served.interpreter.map_or(language, |interpreter| interpreter.language),
            warning: served.warning,
        })
    }
}

/// Where guests' lines go.
pub struct GuestLogs(pub Arc<Logs>);

impl LogStreams for GuestLogs {
    fn open(&self, account: AccountId, region: &Region, group: &str, stream: &str) -> Arc<dyn LogStream> {
        match (LogGroupName::parse(group), LogStreamName::parse(stream)) {
            (Ok(group), Ok(stream)) => Arc::new(GuestStream(self.0.stream(account, region, &group, &stream))),
            _ => {
                tracing::error!(group, stream, "a log stream has a name that is not allowed; its lines are lost");
                Arc::new(Nowhere)
            }
        }
    }

    fn written(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.written().await;
        })
    }
}

struct GuestStream(StreamHandle);

impl LogStream for GuestStream {
    fn lines(&self, lines: &[(Timestamp, Bytes)]) {
        self.0.lines(lines);
    }
}

struct Nowhere;

impl LogStream for Nowhere {
    fn lines(&self, _: &[(Timestamp, Bytes)]) {}
}

/// Makes credentials for instances.
pub struct FunctionCredentials {
    pub identity: Arc<Identity>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Credentials for FunctionCredentials {
    fn issue(&self, function: &FunctionId) -> Result<GuestCredentials, String> {
        let issued = self.identity.issue(function, self.clock.now(), self.entropy.as_ref());
        Ok(GuestCredentials {
            access_key_id: issued.access_key_id,
            secret_access_key: issued.secret_access_key.to_string(),
            session_token: issued.session_token,
        })
    }
}

/// Hands guests' SDK connections to the gateway, unread.
pub struct GuestDoor(pub Gateway);

impl SdkDoor for GuestDoor {
    fn connection(&self, connection: SdkConnection) {
        let gateway = self.0.clone();
        tokio::spawn(async move {
            let SdkConnection { function, stream, slot, .. } = connection;
            gateway.serve_stream(stream, Door::Guest(function)).await;
            drop(slot);
        });
    }
}
