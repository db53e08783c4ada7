//! The platform under test: this build's binary, in a process of its own, on a data directory of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Connection, Target, request};
use crate::sample::Sample;

const READY_MAX: Duration = Duration::from_secs(60);

/// A running platform; ended when dropped.
pub(crate) struct Platform {
    child: Child,
    pub(crate) target: Target,
    _dir: tempfile::TempDir,
}

impl Platform {
    pub(crate) async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let ready = dir.path().join("ready.json");
        let mut child = Command::new(binary()?)
            .args(["up", "--temporary", "--listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .stdout(Stdio::null())
            .spawn()
            .context("start the platform")?;
        let begun = Instant::now();
        let document: Value = loop {
            if let Some(document) = std::fs::read(&ready).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                break document;
            }
            if let Some(status) = child.try_wait()? {
                bail!("the platform ended: {status}");
            }
            ensure!(begun.elapsed() < READY_MAX, "the platform is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let text = |name: &str| {
            document[name].as_str().map(str::to_owned).with_context(|| format!("{name} in the ready file"))
        };
        let target = Target {
            address: text("endpoint")?.trim_start_matches("http://").to_owned(),
            access_key_id: text("access_key_id")?,
            secret: text("secret_access_key")?,
            region: text("region")?,
        };
        Ok(Self { child, target, _dir: dir })
    }

    /// Creates a function and waits until it can be invoked.
    pub(crate) async fn deploy(&self, sample: Sample, name: &str, zip: &[u8]) -> Result<()> {
        let body = json!({
            "FunctionName": name,
            "Runtime": sample.runtime(),
            "Handler": "app.handler",
            "Role": "arn:aws:iam::000000000000:role/bench",
            "MemorySize": 512,
            "Timeout": 30,
            "Code": { "ZipFile": STANDARD.encode(zip) },
        });
        let mut connection = Connection::open(&self.target.address).await?;
        let create = request(&self.target, &Method::POST, "/2015-03-31/functions", body.to_string().as_bytes())?;
        let reply = connection.send(&create).await?;
        ensure!(reply.status == 201, "create {name}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let begun = Instant::now();
        while begun.elapsed() < READY_MAX {
            let reply = connection.send(&request(&self.target, &Method::GET, &path, b"")?).await?;
            let configuration: Value = serde_json::from_slice(&reply.body)?;
            if configuration["State"] == "Active" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("{name} is not active")
    }

    /// The bytes of an invocation of a function.
    pub(crate) fn invocation(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
        request(&self.target, &Method::POST, &format!("/2015-03-31/functions/{name}/invocations"), payload)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The binary beside this one, brought up to date first.
fn binary() -> Result<PathBuf> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--release", "--quiet", "--package", "pinfold"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("run cargo for the platform")?;
    ensure!(status.success(), "the platform was not built");
    let beside = std::env::current_exe()?.with_file_name("pinfold");
    ensure!(beside.is_file(), "there is no {}", beside.display());
    Ok(beside)
}
