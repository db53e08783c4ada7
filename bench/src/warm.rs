//! Warm invocations through the whole API, beside the bound: closed loops that alternate, then an open loop.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Connection, capacity, open_loop};
use crate::platform::Platform;
use crate::sample::Sample;
use crate::stats::{Durations, micros_over};

const ROUNDS: usize = 5;
const REQUESTS: usize = 5000;
const WARM_UP: usize = 500;
const CONNECTIONS: usize = 16;
const LOAD: Duration = Duration::from_secs(5);
/// What is promised: the difference of the medians is at most this.
const PROMISED_MICROS: f64 = 150.0;
const EVENT: &[u8] = br#"{"message":"a small event, two hundred bytes or so, as a webhook or a queue would send it","number":12345,"list":[1,2,3,4,5],"nested":{"key":"value","flag":true},"padding":"................."}"#;

pub(crate) async fn run() -> Result<()> {
    let platform = Platform::start().await?;
    println!("one closed-loop connection, {ROUNDS} alternating rounds of {REQUESTS}; event of {} bytes\n", EVENT.len());
    for sample in Sample::ALL {
        let name = sample.name();
        platform.deploy(sample, name, &sample.zip()?).await?;
        let ours = platform.invocation(name, EVENT)?;
        let (_bound, bound_address, _dir) = start_bound(sample).await?;
        let mut our_connection = Connection::open(&platform.target.address).await?;
        let mut bound_connection = Connection::open(&bound_address).await?;
        our_connection.closed_loop(&ours, WARM_UP).await?;
        bound_connection.closed_loop(&ours, WARM_UP).await?;
        let (mut all_ours, mut all_bound) = (Durations::default(), Durations::default());
        for _ in 0..ROUNDS {
            all_bound.extend(bound_connection.closed_loop(&ours, REQUESTS).await?);
            all_ours.extend(our_connection.closed_loop(&ours, REQUESTS).await?);
        }
        let over = micros_over(all_ours.median(), all_bound.median());
        let verdict = if over <= PROMISED_MICROS { "within" } else { "OVER" };
        println!("{name:<7} bound    {}", all_bound.line());
        println!("{name:<7} pinfold  {}", all_ours.line());
        println!(
            "{name:<7} difference of medians {over:.0} µs: {verdict} the {PROMISED_MICROS:.0} µs that are promised"
        );
        let most = capacity(&platform.target.address, &ours, CONNECTIONS, LOAD).await?;
        let half = open_loop(&platform.target.address, &ours, CONNECTIONS, most / 2.0, LOAD).await?;
        println!(
            "{name:<7} {CONNECTIONS} connections reach {most:.0}/s; open loop at half of that ({} requests):",
            half.len()
        );
        println!("{name:<7}          {}\n", half.line());
    }
    Ok(())
}

async fn start_bound(sample: Sample) -> Result<(Child, String, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    sample.write(dir.path())?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["__bound", sample.name()])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().context("the bound's output")?;
    let address = BufReader::new(output).lines().next_line().await?.context("the bound's address")?;
    Ok((child, address, dir))
}
