//! What the demo shows, step by step; every call goes over HTTP as any client's would.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base::time::{Clock, SystemClock};
use bytes::Bytes;
use model::usage::{UsageFact, UsageOutcome};
use serde_json::{Value, json};

use crate::cli::print::{Look, harmless, micros_for_people};
use crate::cli::{Failure, Printer};
use crate::client::lambda::Waiting;
use crate::client::logs::GROUP_PREFIX;
use crate::client::{Client, ClientError};
use crate::commands::deploy::{self, Wanted, package};
use crate::commands::invoke::Report;
use crate::commands::up::data_dir_flag;

/// Callers at once, and calls of each.
const CALLERS: usize = 16;
const CALLS_EACH: usize = 4;
/// The event fails before that, so its first attempt always does.
const OPENS_AFTER: Duration = Duration::from_millis(800);
/// All attempts are over long before.
const ATTEMPTS_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// So many usage facts are asked for: more than the demo makes.
const FACTS_MAX: u32 = 200;
const LINE_CHARS_MAX: usize = 140;
/// What is enough of an id to tell it from another.
const ID_CHARS: usize = 8;

/// One of the functions.
pub struct Sample {
    pub name: &'static str,
    pub runtime: String,
    pub code: &'static str,
}

/// The demo's server, and where it is shown.
pub struct Story<'a> {
    pub client: Client,
    pub out: &'a Printer,
    pub data_dir: &'a Path,
    pub temporary: bool,
}

impl Story<'_> {
    /// Says where everything is.
    pub fn open(&self, notices: &[String]) {
        let endpoint = self.client.target().endpoint.to_string();
        if self.out.is_json() {
            return self.object(
                json!({ "step": "start", "endpoint": endpoint, "data_dir": self.data_dir, "notices": notices }),
            );
        }
        let kept = if self.temporary { "deleted at the end" } else { "kept" };
        self.out.line(format_args!("{} answers at {}", self.bold("Pinfold"), self.bold(&endpoint)));
        self.out.line(self.dim(format_args!("   its data is in {}, {kept}", self.data_dir.display())));
        for notice in notices {
            self.out.line(self.dim(format_args!("   {notice}")));
        }
    }

    /// The whole of it.
    pub async fn tell(&self, samples: &[Sample; 2]) -> Result<(), Failure> {
        let [hello, orders] = samples;
        self.title("Two functions are created, each from a zip file");
        for sample in samples {
            self.deploy(sample).await?;
        }
        self.title("They answer: first cold, then warm");
        self.call(hello, json!({ "name": "Ada" })).await?;
        self.call(hello, json!({ "name": "Grace" })).await?;
        self.call(orders, json!({ "order": 1 })).await?;
        self.title(format_args!("{CALLERS} callers at once, {CALLS_EACH} calls each"));
        self.crowd(hello).await?;
        self.title("An event is accepted, fails, and is tried again");
        self.event(orders).await?;
        self.title("Every attempt was metered");
        self.usage(samples).await
    }

    /// What to try next.
    pub fn point_around(&self) {
        if self.out.is_json() {
            return;
        }
        let (program, data_dir) = (this_program(), data_dir_flag(self.data_dir));
        let endpoint = &self.client.target().endpoint;
        self.title("It runs on until Ctrl-C; look around from another shell");
        for line in [
            format!("eval \"$({program}{data_dir} env)\""),
            format!("{program} invoke hello -d '{{\"name\":\"you\"}}'"),
            format!("{program} logs -f"),
            "aws lambda list-functions".to_owned(),
            format!("curl {endpoint}/_pinfold/metrics"),
        ] {
            self.out.line(format_args!("   {}", self.out.paint(Look::Name, line)));
        }
    }

    async fn deploy(&self, sample: &Sample) -> Result<(), Failure> {
        let Sample { name, runtime, code } = sample;
        let file = if runtime.starts_with("python") { "app.py" } else { "index.mjs" };
        let module = file.split('.').next().unwrap_or(file);
        let dir = tempfile::tempdir().map_err(|error| Failure::new(format!("make a directory for {name}: {error}")))?;
        fs::write(dir.path().join(file), code).map_err(|error| Failure::new(format!("write {file}: {error}")))?;
        let package = package::pack(dir.path())?;
        let properties = json!({
            "Runtime": runtime, "Handler": format!("{module}.handler"), "Timeout": 10, "MemorySize": 128,
            "Role": "arn:aws:iam::000000000000:role/pinfold",
        });
        let given = properties.as_object().cloned().unwrap_or_default();
        let wanted = Wanted { name: (*name).to_owned(), given, guessed: serde_json::Map::new() };
        let started = Instant::now();
        let deployed = deploy::deploy(&self.client, &wanted, &package.zip).await?;
        let micros = micros_since(started);
        if self.out.is_json() {
            self.object(json!({ "step": "deploy", "function": name, "runtime": runtime, "created": deployed.created, "us": micros }));
        } else {
            let took = self.dim(format_args!("ready in {}", micros_for_people(micros)));
            self.out.line(format_args!("   {name:<7} {runtime:<11} {} bytes  {took}", package.zip.len()));
        }
        Ok(())
    }

    async fn call(&self, sample: &Sample, event: Value) -> Result<(), Failure> {
        let started = Instant::now();
        let invoked = self.client.invoke(sample.name, Bytes::from(event.to_string()), Waiting::Caller).await?;
        let micros = micros_since(started);
        let answer = String::from_utf8_lossy(&invoked.payload).into_owned();
        if let Some(kind) = &invoked.function_error {
            return Err(Failure::new(format!("{} failed ({kind}): {answer}", sample.name)));
        }
        let log: Vec<&str> = invoked.log_tail.lines().filter(|line| !line.is_empty()).collect();
        if self.out.is_json() {
            self.object(json!({
                "step": "call", "function": sample.name, "event": event, "answer": invoked.payload_json(), "us": micros, "log": log,
            }));
            return Ok(());
        }
        let report = Report::find(&invoked.log_tail);
        let how = match report.init_ms {
            Some(init) => format!("cold {} (init {init} ms)", micros_for_people(micros)),
            None => format!("warm {}", micros_for_people(micros)),
        };
        self.request(sample.name, &event);
        self.out.line(format_args!("   {} {} {answer}  {}", self.good("←"), invoked.status, self.bold(how)));
        let id = &invoked.request_id;
        let short = id.get(..ID_CHARS).unwrap_or(id);
        log.iter().for_each(|line| self.log_line(&line.replace(id.as_str(), short)));
        Ok(())
    }

    async fn crowd(&self, sample: &Sample) -> Result<(), Failure> {
        let started = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let (client, name) = (self.client.clone(), sample.name);
            callers.spawn(async move {
                let mut times = Vec::with_capacity(CALLS_EACH);
                let mut cold = 0;
                for _ in 0..CALLS_EACH {
                    let event = Bytes::from(json!({ "name": format!("caller {caller}") }).to_string());
                    let asked = Instant::now();
                    let invoked = client.invoke(name, event, Waiting::Caller).await?;
                    times.push(micros_since(asked));
                    cold += usize::from(Report::find(&invoked.log_tail).init_ms.is_some());
                    if let Some(kind) = invoked.function_error {
                        return Err(client.strange(format!("a call that should succeed with {kind}")));
                    }
                }
                Ok::<_, ClientError>((times, cold))
            });
        }
        let (mut times, mut cold) = (Vec::new(), 0);
        while let Some(ended) = callers.join_next().await {
            let (some, started_cold) = ended.map_err(|error| Failure::of(&error))??;
            times.extend(some);
            cold += started_cold;
        }
        let total = micros_since(started);
        times.sort_unstable();
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        if self.out.is_json() {
            self.object(json!({
                "step": "crowd", "function": sample.name, "callers": CALLERS, "calls": times.len(), "us": total,
                "median_us": median, "slowest_us": slowest, "instances_started": cold,
            }));
            return Ok(());
        }
        self.request(sample.name, &json!({ "name": "caller …" }));
        let [total, median, slowest] = [total, median, slowest].map(micros_for_people);
        self.out.line(format_args!(
            "   {} {} × 200 in {}: median {median}, slowest {slowest}, {cold} more instances were started",
            self.good("←"),
            times.len(),
            self.bold(total),
        ));
        Ok(())
    }

    async fn event(&self, sample: &Sample) -> Result<(), Failure> {
        let sent_at = SystemClock.now();
        let event = json!({ "order": 2, "opens_at_ms": sent_at.plus(OPENS_AFTER).as_millis() });
        let started = Instant::now();
        let invoked = self.client.invoke(sample.name, Bytes::from(event.to_string()), Waiting::Nobody).await?;
        if self.out.is_json() {
            self.object(
                json!({ "step": "event", "function": sample.name, "event": event, "request_id": invoked.request_id }),
            );
        } else {
            self.request(sample.name, &event);
            let took = micros_for_people(micros_since(started));
            self.out.line(format_args!(
                "   {} {} accepted in {took}: from here on not even kill -9 loses it",
                self.good("←"),
                invoked.status
            ));
        }
        let mut shown = 0;
        loop {
            let facts = self.client.usage(sample.name, FACTS_MAX).await?;
            let mut attempts: Vec<&UsageFact> =
                facts.iter().filter(|fact| fact.invocation.to_string() == invoked.request_id).collect();
            attempts.sort_by_key(|fact| fact.attempt);
            for fact in attempts.iter().skip(shown) {
                self.attempt(fact, fact.at.since(sent_at));
            }
            shown = shown.max(attempts.len());
            if attempts.iter().any(|fact| fact.outcome == UsageOutcome::Success) {
                break;
            }
            if started.elapsed() > ATTEMPTS_MAX {
                return Err(Failure::new(format!(
                    "the event {} did not succeed after {shown} attempts",
                    invoked.request_id
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        let group = format!("{GROUP_PREFIX}{}", sample.name);
        let page = self.client.log_events(&group, sent_at.as_millis(), None).await?;
        let lines = page.into_iter().flat_map(|page| page.events);
        let own = |message: &str| ["START ", "END ", "REPORT ", "INIT_"].iter().all(|word| !message.starts_with(word));
        for event in lines.filter(|event| own(&event.message)) {
            if self.out.is_json() {
                self.object(json!({ "step": "log", "function": sample.name, "message": event.message }));
            } else {
                self.log_line(event.message.trim_end());
            }
        }
        Ok(())
    }

    fn attempt(&self, fact: &UsageFact, after: Duration) {
        let secs = after.as_secs_f64();
        if self.out.is_json() {
            return self.object(
                json!({ "step": "attempt", "attempt": fact.attempt, "outcome": fact.outcome, "after_secs": secs }),
            );
        }
        let how = match fact.outcome {
            UsageOutcome::Success => self.good("succeeded"),
            UsageOutcome::FunctionError => self.out.paint(Look::Bad, "the function failed"),
            UsageOutcome::PlatformFailure => self.out.paint(Look::Bad, "the platform failed"),
        };
        self.out.line(format_args!("   after {secs:4.1} s  attempt {}  {how}", fact.attempt));
    }

    async fn usage(&self, samples: &[Sample; 2]) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for sample in samples {
            let facts = self.client.usage(sample.name, FACTS_MAX).await?;
            let total = |of: fn(&UsageFact) -> u64| facts.iter().map(of).sum::<u64>();
            let billed = total(|fact| fact.billed_ms);
            let failed = total(|fact| u64::from(fact.outcome != UsageOutcome::Success));
            let cold = total(|fact| u64::from(fact.init_us.is_some()));
            let gb_secs = facts
                .iter()
                .map(|fact| f64::from(fact.memory_mib) / 1024.0 * fact.billed_ms as f64 / 1000.0)
                .sum::<f64>();
            let used = facts.iter().map(|fact| fact.memory_used_mib).max().unwrap_or(0);
            if self.out.is_json() {
                self.object(json!({
                    "step": "usage", "function": sample.name, "attempts": facts.len(), "failed": failed, "cold": cold,
                    "billed_ms": billed, "gb_seconds": gb_secs, "memory_used_mib_max": used,
                }));
            }
            let cells: [&dyn std::fmt::Display; 7] =
                [&sample.name, &facts.len(), &failed, &cold, &billed, &format!("{gb_secs:.3}"), &used];
            rows.push(cells.iter().map(ToString::to_string).collect());
        }
        if !self.out.is_json() {
            self.out
                .table(&["   FUNCTION", "ATTEMPTS", "FAILED", "COLD", "BILLED MS", "GB-S", "MB USED"], &indented(rows));
        }
        Ok(())
    }

    fn request(&self, function: &str, event: &Value) {
        self.out.line(format_args!(
            "   {} POST /2015-03-31/functions/{function}/invocations {event}",
            self.out.paint(Look::Name, "→")
        ));
    }

    fn log_line(&self, line: &str) {
        let line: String = harmless(&line.replace('\t', "  ")).chars().take(LINE_CHARS_MAX).collect();
        self.out.line(self.dim(format_args!("     {line}")));
    }

    fn title(&self, text: impl std::fmt::Display) {
        if !self.out.is_json() {
            self.out.line(format_args!("\n{}", self.bold(text)));
        }
    }

    /// One line of JSON a step.
    fn object(&self, step: Value) {
        self.out.line(step);
    }

    fn bold(&self, text: impl std::fmt::Display) -> String {
        self.out.paint(Look::Bold, text)
    }

    fn dim(&self, text: impl std::fmt::Display) -> String {
        self.out.paint(Look::Dim, text)
    }

    fn good(&self, text: impl std::fmt::Display) -> String {
        self.out.paint(Look::Good, text)
    }
}

fn indented(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let indent = |mut row: Vec<String>| {
        row.iter_mut().take(1).for_each(|cell| cell.insert_str(0, "   "));
        row
    };
    rows.into_iter().map(indent).collect()
}

/// How this program is called from the shell that it was started in.
fn this_program() -> String {
    let Ok(exe) = std::env::current_exe() else { return "pinfold".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| fs::canonicalize(dir.join("pinfold")).is_ok_and(|found| found == exe)) {
        return "pinfold".to_owned();
    }
    let here = std::env::current_dir().ok();
    match here.and_then(|here| exe.strip_prefix(here).map(Path::to_owned).ok()) {
        Some(relative) => format!("./{}", relative.display()),
        None => exe.display().to_string(),
    }
}

fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}
