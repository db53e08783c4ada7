//! A little language for tests: one operation a line, `operation arguments -> answer`.
//!
//! Times are milliseconds from the start of the script, when the clock stands at 0. A list is answered by its items, and
//! by `...` if it has a next page, which `next` asks for. `get` answers the messages, and `f` and `b` go on from its
//! tokens; it says `stays` where the token of that direction is the one that was given.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::entropy::SystemEntropy;
use base::time::{Clock, ManualClock, Timestamp};
use bytes::Bytes;
use logs::{
    DescribeGroups, DescribeStreams, Event, FilterEvents, GetEvents, Home, Logs, LogsError, LogsOptions, NewEvent,
    NewGroup, Pattern, StreamHandle, StreamOrder, Streams,
};
use meter::Metrics;
use model::ids::AccountId;
use model::names::{LogGroupName, LogStreamName, Region};
use store::Store;
use store::data_dir::{DataDir, DataDirOptions};
use store::memory::{Crash, CrashMoment, Faults, MemoryStore};
use store::segments::SegmentOptions;

/// Where the clock stands when a script starts, in milliseconds since the Unix epoch.
const START_MS: i64 = 1_700_000_000_000;

/// Runs the script over the in-memory and over the embedded store.
pub(crate) fn check(script: &str) {
    for is_embedded in [false, true] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let mut world = World::open(folder.path(), is_embedded).await;
            for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let (ask, expected) = line.split_once("->").unwrap_or((line, ""));
                let answer = world.act(ask.trim()).await;
                assert_eq!(answer, expected.trim(), "{ask} (embedded: {is_embedded})");
            }
            world.logs.close().await;
        });
    }
}

/// Logs on stores of their own.
pub(crate) struct World {
    pub(crate) logs: Arc<Logs>,
    pub(crate) metrics: Arc<Metrics>,
    clock: Arc<ManualClock>,
    pub(crate) memory: MemoryStore,
    data_dir: Option<DataDir>,
    is_embedded: bool,
    folder: std::path::PathBuf,
    handles: HashMap<(String, String), StreamHandle>,
    /// The last token of each operation.
    tokens: HashMap<String, String>,
}

impl World {
    pub(crate) async fn open(folder: &Path, is_embedded: bool) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START_MS as u64)));
        let memory = MemoryStore::new();
        Self::open_with(folder, is_embedded, clock, memory).await
    }

    async fn open_with(folder: &Path, is_embedded: bool, clock: Arc<ManualClock>, memory: MemoryStore) -> Self {
        let data_dir = DataDir::open(folder, DataDirOptions::default()).expect("a data directory");
        let store: Arc<dyn Store> = if is_embedded { data_dir.store() } else { Arc::new(memory.clone()) };
        let metrics = Arc::new(Metrics::new());
        let logs = Logs::open(LogsOptions {
            store,
            segments: data_dir.segments("logs", SegmentOptions::default()).expect("segments"),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            // Not a seeded one: after a restart it would name batches as before, and the store would think them done.
            entropy: Arc::new(SystemEntropy),
            metrics: Arc::clone(&metrics),
        });
        let logs = logs.await.expect("readable segments");
        Self {
            logs,
            metrics,
            clock,
            memory,
            data_dir: Some(data_dir),
            is_embedded,
            folder: folder.to_owned(),
            handles: HashMap::new(),
            tokens: HashMap::new(),
        }
    }

    /// The same stores, opened anew; with a crash, what was not written by then is gone.
    pub(crate) async fn reopen(&mut self, is_crash: bool) {
        self.handles.clear();
        if is_crash {
            // Whatever still runs finds its stores dead.
            let crash = Crash { commit: self.memory.commits() + 1, moment: CrashMoment::Before };
            self.memory.set_faults(Faults { crash: Some(crash), ..Faults::default() });
        } else {
            self.logs.close().await;
        }
        let data_dir = self.data_dir.take().expect("an open data directory");
        data_dir.close().await;
        drop(data_dir);
        self.logs.close().await;
        self.memory = self.memory.recover();
        let tokens = std::mem::take(&mut self.tokens);
        *self = Self::open_with(&self.folder, self.is_embedded, Arc::clone(&self.clock), self.memory.clone()).await;
        self.tokens = tokens;
    }

    pub(crate) async fn act(&mut self, ask: &str) -> String {
        let mut words = ask.split_whitespace();
        let operation = words.next().expect("an operation");
        match operation {
            "tick" => {
                let millis: u64 = words.next().expect("milliseconds").parse().expect("a number");
                self.clock.advance(Duration::from_millis(millis));
                String::new()
            }
            "restart" => {
                self.reopen(false).await;
                String::new()
            }
            "crash" => {
                self.reopen(true).await;
                String::new()
            }
            _ => self.ask(operation, &Arguments::parse(ask)).await.unwrap_or_else(|error| error.to_string()),
        }
    }

    async fn ask(&mut self, operation: &str, arguments: &Arguments) -> Result<String, LogsError> {
        let (logs, home) = (Arc::clone(&self.logs), home());
        let next = arguments.has("next").then(|| self.tokens.get(operation).cloned().unwrap_or_default());
        let limit = arguments.option("limit").map(|limit| limit.parse().expect("a number"));
        let done = |()| "ok".to_owned();
        match operation {
            "create-group" => logs.create_group(&home, &arguments.group(), NewGroup::default()).await.map(done),
            "delete-group" => logs.delete_group(&home, &arguments.group()).await.map(done),
            "create-stream" => logs.create_stream(&home, &arguments.group(), &arguments.stream()).await.map(done),
            "delete-stream" => logs.delete_stream(&home, &arguments.group(), &arguments.stream()).await.map(done),
            "group" => {
                let group = logs.describe_group(&home, &arguments.group()).await?;
                Ok(format!("created {} bytes {}", from_start(group.created), group.stored_bytes))
            }
            "groups" => {
                let ask = DescribeGroups {
                    prefix: arguments.option("prefix"),
                    pattern: arguments.option("holds"),
                    class: arguments.option("class"),
                    limit,
                    next,
                };
                let page = logs.describe_groups(&home, &ask).await?;
                let names = page.items.iter().map(|group| group.name.to_string()).collect();
                Ok(self.list(operation, names, page.next))
            }
            "streams" | "stream" => {
                let ask = DescribeStreams {
                    prefix: arguments.option("prefix"),
                    order: if arguments.has("by-time") { StreamOrder::LastEvent } else { StreamOrder::Name },
                    descending: arguments.has("descending"),
                    limit,
                    next,
                };
                let page = logs.describe_streams(&home, &arguments.group(), &ask).await?;
                if operation == "stream" {
                    let stream = page.items.iter().find(|stream| stream.name == arguments.stream());
                    return Ok(stream.map_or("none".to_owned(), |stream| {
                        let time = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| from_start(at).to_string());
                        let (first, last) = (time(stream.first_event), time(stream.last_event));
                        format!("first {first} last {last} ingested {}", time(stream.last_ingestion))
                    }));
                }
                let names = page.items.iter().map(|stream| stream.name.to_string()).collect();
                Ok(self.list(operation, names, page.next))
            }
            "put" => {
                let events: Vec<NewEvent> = arguments.events();
                let rejected = logs.put_events(&home, &arguments.group(), &arguments.stream(), &events).await?;
                let parts = [
                    ("too-new-from", rejected.too_new_start),
                    ("too-old-to", rejected.too_old_end),
                    ("expired-to", rejected.expired_end),
                ];
                let parts = parts.iter().filter_map(|(name, index)| index.map(|index| format!("{name} {index}")));
                let text = parts.collect::<Vec<_>>().join(" ");
                Ok(if text.is_empty() { "ok".to_owned() } else { text })
            }
            // A function's lines.
            "write" => {
                let name = (arguments.plain[0].clone(), arguments.plain[1].clone());
                let handle = self.handles.entry(name).or_insert_with(|| {
                    logs.stream(home.account, &home.region, &arguments.group(), &arguments.stream())
                });
                let lines: Vec<_> = arguments.events().into_iter().map(|event| (event.at, event.message)).collect();
                handle.lines(&lines);
                Ok(String::new())
            }
            // Its instance ends.
            "release" => {
                self.handles.remove(&(arguments.plain[0].clone(), arguments.plain[1].clone()));
                Ok(String::new())
            }
            "get" => {
                let given = match (arguments.has("f"), arguments.has("b")) {
                    (true, _) => self.tokens.get("f").cloned(),
                    (_, true) => self.tokens.get("b").cloned(),
                    _ => arguments.option("token"),
                };
                let ask = GetEvents {
                    start_ms: arguments.time("from"),
                    end_ms: arguments.time("to"),
                    from_head: arguments.has("head"),
                    limit,
                    next: given.clone(),
                };
                let found = logs.get_events(&home, &arguments.group(), &arguments.stream(), &ask).await?;
                let stays = given.is_some_and(|given| [&found.forward, &found.backward].contains(&&given));
                self.tokens.insert("f".to_owned(), found.forward);
                self.tokens.insert("b".to_owned(), found.backward);
                let mut words: Vec<String> = found.events.iter().map(message).collect();
                words.extend(stays.then(|| "stays".to_owned()));
                Ok(words.join(" "))
            }
            "find" => {
                let names = arguments.option("streams");
                let names = names.map(|names| {
                    names.split(',').map(|name| LogStreamName::parse(name).expect("a stream's name")).collect()
                });
                let ask = FilterEvents {
                    streams: match (names, arguments.option("prefix")) {
                        (Some(names), _) => Streams::Named(names),
                        (None, Some(prefix)) => Streams::Prefix(prefix),
                        (None, None) => Streams::All,
                    },
                    start_ms: arguments.time("from"),
                    end_ms: arguments.time("to"),
                    pattern: Pattern::parse(&arguments.option("pattern").unwrap_or_default())?,
                    limit,
                    next,
                };
                let page = logs.filter_events(&home, &arguments.group(), &ask).await?;
                let shown = page.items.iter().map(|event| format!("{}:{}", event.stream, message(event))).collect();
                Ok(self.list(operation, shown, page.next))
            }
            other => panic!("no operation {other}"),
        }
    }

    fn list(&mut self, operation: &str, mut words: Vec<String>, next: Option<String>) -> String {
        words.extend(next.as_ref().map(|_| "...".to_owned()));
        self.tokens.insert(operation.to_owned(), next.unwrap_or_default());
        words.join(" ")
    }
}

/// What stands after the operation: plain words, and `name=value`; a `pattern=` takes the rest of the line.
struct Arguments {
    plain: Vec<String>,
    options: HashMap<String, String>,
}

impl Arguments {
    fn parse(ask: &str) -> Self {
        let (ask, pattern) = match ask.split_once("pattern=") {
            Some((ask, pattern)) => (ask, Some(pattern.to_owned())),
            None => (ask, None),
        };
        let mut arguments = Self { plain: Vec::new(), options: HashMap::new() };
        for word in ask.split_whitespace().skip(1) {
            match word.split_once('=') {
                Some((name, value)) => drop(arguments.options.insert(name.to_owned(), value.to_owned())),
                None => arguments.plain.push(word.to_owned()),
            }
        }
        arguments.options.extend(pattern.map(|pattern| ("pattern".to_owned(), pattern)));
        arguments
    }

    fn group(&self) -> LogGroupName {
        LogGroupName::parse(&self.plain[0]).expect("a group's name")
    }

    fn stream(&self) -> LogStreamName {
        LogStreamName::parse(&self.plain[1]).expect("a stream's name")
    }

    fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    fn option(&self, name: &str) -> Option<String> {
        self.options.get(name).cloned()
    }

    fn time(&self, name: &str) -> Option<u64> {
        let offset: Option<i64> = self.option(name).map(|time| time.parse().expect("milliseconds"));
        offset.map(|offset| (START_MS + offset) as u64)
    }

    /// `TIME:MESSAGE`, after group and stream.
    fn events(&self) -> Vec<NewEvent> {
        let event = |word: &String| {
            let (time, message) = word.split_once(':').expect("TIME:MESSAGE");
            let time: i64 = time.parse().expect("milliseconds");
            let at = Timestamp::from_millis((START_MS + time) as u64);
            NewEvent { at, message: Bytes::from(message.to_owned()) }
        };
        self.plain[2..].iter().map(event).collect()
    }
}

pub(crate) fn home() -> Home {
    Home { account: AccountId::DEFAULT, region: Region::parse("us-east-1").expect("a region") }
}

fn message(event: &Event) -> String {
    String::from_utf8(event.message.to_vec()).expect("text")
}

fn from_start(at: Timestamp) -> i64 {
    at.as_millis() as i64 - START_MS
}
