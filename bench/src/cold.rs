//! Cold starts in phases: the same bootstrap behind the wall and outside it, alternating; then through the whole API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use base::time::Timestamp;
use bytes::Bytes;
use http::Method;
use model::ids::{AccountId, FunctionId, InstanceId};
use model::names::{FunctionName, Region};
use sandbox::{ColdStart, GuestCredentials, Instance, InstanceSpec, LogSink, Sandbox, SandboxOptions};

use crate::client::{Connection, request};
use crate::platform::Platform;
use crate::sample::Sample;
use crate::stats::{Durations, micros_over};

const STARTS: u64 = 60;
const WARM_UP: u64 = 5;
const API_STARTS: usize = 30;
/// What is promised: the wall adds at most this to the same bootstrap started outside it.
const PROMISED_MICROS: f64 = 5000.0;
/// Starts come with pauses, as they do in life: the launcher then has a place ready.
const PAUSE: Duration = Duration::from_millis(60);

/// As the platform's metrics name them.
const PHASES: [&str; 4] = ["queue", "sandbox", "interpreter", "init"];

fn request_of(platform: &Platform, method: &Method, path: &str) -> Result<Vec<u8>> {
    request(&platform.target, method, path, b"")
}

/// Seconds of each phase that the platform has counted so far.
async fn counted(connection: &mut Connection, platform: &Platform) -> Result<[f64; 4]> {
    let page = connection.send(&request_of(platform, &Method::GET, "/_pinfold/metrics")?).await?;
    let page = String::from_utf8(page.body)?;
    Ok(PHASES.map(|phase| {
        let name = format!("pinfold_start_phase_seconds_sum{{phase=\"{phase}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(f64::NAN)
    }))
}

struct Silent;

impl LogSink for Silent {
    fn line(&self, _: Timestamp, _: Bytes) {}
}

/// Durations of one phase each.
#[derive(Default)]
struct Phases {
    sandbox: Durations,
    interpreter: Durations,
    init: Durations,
    whole: Durations,
}

impl Phases {
    fn push(&mut self, cold: ColdStart, whole: Duration) {
        self.sandbox.push(cold.sandbox);
        self.interpreter.push(cold.interpreter);
        self.init.push(cold.init);
        self.whole.push(whole);
    }

    fn print(&self, name: &str, place: &str) {
        for (phase, durations) in [
            ("sandbox", &self.sandbox),
            ("interpreter", &self.interpreter),
            ("user init", &self.init),
            ("whole", &self.whole),
        ] {
            println!("{name:<7} {place:<8} {phase:<12} {}", durations.line());
        }
    }
}

pub(crate) async fn run() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let sandbox = Sandbox::start(SandboxOptions::new(format!("bench{}", std::process::id()), scratch.path()))?;
    println!("{STARTS} starts each, alternating; tier {}\n", sandbox.tier());
    for sample in Sample::ALL {
        let dir = tempfile::tempdir()?;
        sample.write(dir.path())?;
        let (mut walled, mut bare) = (Phases::default(), Phases::default());
        for number in 0..STARTS + WARM_UP {
            let spec = spec(sample, number, dir.path());
            let begun = Instant::now();
            let instance = sandbox::bare::launch(sandbox.packs(), spec.clone(), Arc::new(Silent)).await;
            let (cold, whole) = ended(instance, begun).await?;
            if number >= WARM_UP {
                bare.push(cold, whole);
            }
            tokio::time::sleep(PAUSE).await;
            let begun = Instant::now();
            let instance = sandbox.launch(spec, Arc::new(Silent)).await;
            let (cold, whole) = ended(instance, begun).await?;
            if number >= WARM_UP {
                walled.push(cold, whole);
            }
            tokio::time::sleep(PAUSE).await;
        }
        bare.print(sample.name(), "outside");
        walled.print(sample.name(), "walled");
        let over = micros_over(walled.whole.median(), bare.whole.median());
        let verdict = if over <= PROMISED_MICROS { "within" } else { "OVER" };
        println!(
            "{:<7} the wall adds {over:.0} µs (median): {verdict} the {PROMISED_MICROS:.0} µs that are promised\n",
            sample.name()
        );
    }
    drop(sandbox);
    through_the_api().await
}

async fn ended(launched: Result<Instance, sandbox::LaunchError>, begun: Instant) -> Result<(ColdStart, Duration)> {
    let whole = begun.elapsed();
    let instance = launched.map_err(|error| anyhow!("{}", base::chain::Chain(&error)))?;
    let cold = instance.cold_start();
    instance.stop().await;
    Ok((cold, whole))
}

/// The first invocation of a new function, whole, and what the platform counted of its phases.
async fn through_the_api() -> Result<()> {
    let platform = Platform::start().await?;
    for sample in Sample::ALL {
        let zip = sample.zip()?;
        let mut first = Durations::default();
        let mut second = Durations::default();
        let mut phases = PHASES.map(|phase| (phase, Durations::default()));
        for number in 0..API_STARTS {
            let name = format!("{}-{number}", sample.name());
            platform.deploy(sample, &name, &zip).await?;
            let request = platform.invocation(&name, b"{}")?;
            let mut connection = Connection::open(&platform.target.address).await?;
            tokio::time::sleep(PAUSE).await;
            let before = counted(&mut connection, &platform).await?;
            for durations in [&mut first, &mut second] {
                let begun = Instant::now();
                let reply = connection.send(&request).await?;
                durations.push(begun.elapsed());
                ensure!(reply.status == 200 && !reply.function_error, "{}", String::from_utf8_lossy(&reply.body));
            }
            // Its instance would have to be ended first when memory runs short, and that is not what is measured.
            connection.send(&request_of(&platform, &Method::DELETE, &format!("/2015-03-31/functions/{name}"))?).await?;
            let after = counted(&mut connection, &platform).await?;
            for ((_, durations), (after, before)) in phases.iter_mut().zip(after.into_iter().zip(before)) {
                durations.push(Duration::from_secs_f64((after - before).max(0.0)));
            }
        }
        for (phase, durations) in &phases {
            println!("{:<7} API      {phase:<12} {}", sample.name(), durations.line());
        }
        println!("{:<7} API      cold invoke  {}", sample.name(), first.line());
        println!("{:<7} API      next invoke  {}", sample.name(), second.line());
    }
    Ok(())
}

fn spec(sample: Sample, number: u64, code_dir: &std::path::Path) -> InstanceSpec {
    let name = |result: Result<_, _>| result.expect("the benchmark's names follow the rules");
    InstanceSpec {
        instance: InstanceId(number),
        function: FunctionId {
            account: AccountId::DEFAULT,
            region: name(Region::parse("us-east-1").map_err(drop)),
            name: FunctionName::parse("bench").expect("the benchmark's name follows the rule"),
        },
        version: "$LATEST".to_owned(),
        runtime: sample.runtime().to_owned(),
        language: sample.language(),
        handler: "app.handler".to_owned(),
        environment: std::collections::BTreeMap::new(),
        credentials: GuestCredentials::default(),
        memory_mib: 512,
        ephemeral_mib: 512,
        timeout_secs: 30,
        code_dir: code_dir.to_owned(),
        log_group: "/aws/lambda/bench".to_owned(),
        log_stream: "bench".to_owned(),
    }
}
