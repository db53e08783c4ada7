//! From raw layers to [`Settings`]: a pure function of what was written and of what surrounds it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::backoff::Backoff;
use base::sizes::MIB;
use model::ids::AccountId;
use model::names::Region;

use super::keys::{self, KEYS};
use super::layers::{Layers, Mistake, Raw, Source};
use super::values::{self, Memory};
use super::{Connections, Events, Instances, Logs, Settings};

/// The least memory that instances can share: one function of Lambda's smallest size.
const MEMORY_MIB_MIN: u64 = model::limits::MEMORY_MIB_MIN as u64;

/// What defaults depend on.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's home.
    pub home: Option<PathBuf>,
    /// `XDG_DATA_HOME` (XDG base directory specification; relative ones are ignored as it says).
    pub data_home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// What relative paths are relative to, unless they stand in a file.
    pub working_dir: PathBuf,
    /// Memory that this machine, or the container that this runs in, has.
    pub memory_mib: u64,
}

/// A key with the value that holds and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub key: &'static str,
    pub text: String,
    pub source: Source,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "the configuration has a mistake: {one}"),
            many => {
                write!(f, "the configuration has {} mistakes:", many.len())?;
                many.iter().try_for_each(|mistake| write!(f, "\n  - {mistake}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

impl Surroundings {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            home: absolute("HOME"),
            data_home: absolute("XDG_DATA_HOME"),
            config_home: absolute("XDG_CONFIG_HOME"),
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            memory_mib: memory_mib_here(),
        }
    }
}

/// Reads all keys, checks them one by one and against each other; every mistake is reported.
pub fn settings(layers: &Layers, surroundings: &Surroundings) -> Result<(Settings, Vec<Resolved>), Mistakes> {
    let mut reader = Reader { layers, surroundings, mistakes: layers.mistakes().to_vec(), resolved: Vec::new() };
    let memory = reader.read("instances.memory_max", values::memory);
    let settings = Settings {
        listen: reader.read("listen", |text| {
            text.parse().map_err(|_| format!("{text:?} is not an address with a port, such as 127.0.0.1:4566"))
        }),
        data_dir: reader.path("data_dir", default_data_dir),
        key_file: reader.path("key_file", default_key_file),
        account: reader.read("account_id", |text| AccountId::parse(text).map_err(|error| error.to_string())),
        region: reader.read("region", |text| Region::parse(text).map_err(|error| error.to_string())),
        trust_loopback: reader.read("trust_loopback", values::truth),
        allow_weak_isolation: reader.read("allow_weak_isolation", values::truth),
        log: reader.read("log", |text| match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
            _ => Err(format!("{text:?} is neither error, warn, info, debug, trace nor a filter by target")),
        }),
        drain_max: reader.time("drain_max", "0s", "1h"),
        instances: Instances {
            memory_mib_max: match memory {
                Memory::Bytes(bytes) => bytes / MIB as u64,
                // A machine with less than two of Lambda's smallest functions' memory still runs one.
                Memory::Percent(percent) => (surroundings.memory_mib * u64::from(percent) / 100).max(MEMORY_MIB_MIN),
            },
            count_max: reader.number("instances.count_max", 1, 100_000),
            idle_max: reader.time("instances.idle_max", "100ms", "24h"),
            waiting_max: reader.number("instances.waiting_max", 0, 1_000_000),
        },
        events: Events {
            function_error_delays: [
                reader.time("events.retry_first", "0s", "1d"),
                reader.time("events.retry_second", "0s", "1d"),
            ],
            platform_backoff: Backoff {
                first: reader.time("events.backoff_first", "10ms", "1h"),
                max: reader.time("events.backoff_max", "10ms", "1d"),
            },
            age_max: reader.time("events.age_max", "1s", "30d"),
        },
        logs: Logs {
            total_bytes_max: reader.bytes("logs.total_max", 16 * MIB as u64, 1 << 50),
            age_max: reader.time("logs.age_max", "1m", "3653d"),
        },
        connections: Connections {
            count_max: reader.number::<u32>("connections.count_max", 1, 65_536) as usize,
            head_max: reader.time("connections.head_max", "100ms", "10m"),
            body_max: reader.time("connections.body_max", "100ms", "1h"),
        },
    };
    reader.check_together(&settings);
    if reader.mistakes.is_empty() { Ok((settings, reader.in_order())) } else { Err(Mistakes(reader.mistakes)) }
}

/// Only the data directory: all that a client command needs of the configuration. A mistake elsewhere in it counts too,
/// since the directory that was meant may stand there.
pub fn data_dir(layers: &Layers, surroundings: &Surroundings) -> Result<PathBuf, Mistakes> {
    let mut reader = Reader { layers, surroundings, mistakes: layers.mistakes().to_vec(), resolved: Vec::new() };
    let path = reader.path("data_dir", default_data_dir);
    if reader.mistakes.is_empty() { Ok(path) } else { Err(Mistakes(reader.mistakes)) }
}

fn default_data_dir(surroundings: &Surroundings) -> Option<PathBuf> {
    let home = || surroundings.home.as_ref().map(|home| home.join(".local/share"));
    Some(surroundings.data_home.clone().or_else(home)?.join("pinfold"))
}

fn default_key_file(surroundings: &Surroundings) -> Option<PathBuf> {
    let home = || surroundings.home.as_ref().map(|home| home.join(".config"));
    Some(surroundings.config_home.clone().or_else(home)?.join("pinfold/master.key"))
}

struct Reader<'a> {
    layers: &'a Layers,
    surroundings: &'a Surroundings,
    mistakes: Vec<Mistake>,
    resolved: Vec<Resolved>,
}

impl Reader<'_> {
    /// The value of a key; a mistake is noted and stands as the default until all are reported.
    fn read<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = keys::find(name).expect("resolve reads only keys of the table").default;
        let raw = self.layers.get(name).unwrap_or(Raw { text: default.to_owned(), source: Source::Default });
        let value = parse(&raw.text).unwrap_or_else(|problem| {
            self.mistakes.push(Mistake { source: raw.source.clone(), key: name.to_owned(), problem });
            parse(default).expect("every default can be read")
        });
        self.resolved.push(Resolved { key: name, text: raw.text, source: raw.source });
        value
    }

    fn number<T: TryFrom<u64> + Default>(&mut self, name: &'static str, min: u64, max: u64) -> T {
        T::try_from(self.read(name, |text| values::whole(text, min, max))).unwrap_or_default()
    }

    fn bytes(&mut self, name: &'static str, min: u64, max: u64) -> u64 {
        self.read(name, |text| match values::size(text)? {
            bytes if (min..=max).contains(&bytes) => Ok(bytes),
            _ => Err(format!("{text:?} is not between {min} and {max} bytes")),
        })
    }

    fn time(&mut self, name: &'static str, min: &str, max: &str) -> Duration {
        let limit = |text: &str| values::duration(text).expect("limits are written well");
        self.read(name, |text| match values::duration(text)? {
            time if (limit(min)..=limit(max)).contains(&time) => Ok(time),
            _ => Err(format!("{text:?} is not between {min} and {max}")),
        })
    }

    fn path(&mut self, name: &'static str, default: fn(&Surroundings) -> Option<PathBuf>) -> PathBuf {
        let raw = self.layers.get(name);
        let source = raw.as_ref().map_or(Source::Default, |raw| raw.source.clone());
        let found = match &raw {
            None => default(self.surroundings).ok_or("has no default, for HOME is not set: give it"),
            Some(raw) if raw.text.is_empty() => Err("is empty"),
            Some(raw) => absolute(raw, self.surroundings).ok_or("begins with ~, and HOME is not set"),
        };
        let path = found.unwrap_or_else(|problem| {
            let problem = problem.to_owned();
            self.mistakes.push(Mistake { source: source.clone(), key: name.to_owned(), problem });
            PathBuf::new()
        });
        self.resolved.push(Resolved { key: name, text: path.display().to_string(), source });
        path
    }

    /// What is right alone may be wrong together.
    fn check_together(&mut self, settings: &Settings) {
        let Settings { listen, instances, events, .. } = settings;
        if settings.trust_loopback && !listen.ip().is_loopback() {
            let problem =
                format!("would trust everybody who reaches {listen}; listen on 127.0.0.1 or ::1, or leave it off");
            self.blame("trust_loopback", problem);
        }
        if !settings.data_dir.as_os_str().is_empty() && settings.key_file.starts_with(&settings.data_dir) {
            let problem =
                "lies inside the data directory; a copy of that must not hold the key to its secrets".to_owned();
            self.blame("key_file", problem);
        }
        if instances.memory_mib_max < MEMORY_MIB_MIN {
            self.blame(
                "instances.memory_max",
                format!("is less than {MEMORY_MIB_MIN} MiB, the smallest function's memory"),
            );
        }
        if events.platform_backoff.first > events.platform_backoff.max {
            self.blame("events.backoff_first", "is longer than events.backoff_max".to_owned());
        }
    }

    fn blame(&mut self, key: &str, problem: String) {
        // A value that could not be read has been reported; its default says nothing about the rest.
        if self.mistakes.iter().all(|mistake| mistake.key != key) {
            let source = self.layers.get(key).map_or(Source::Default, |raw| raw.source);
            self.mistakes.push(Mistake { source, key: key.to_owned(), problem });
        }
    }

    fn in_order(mut self) -> Vec<Resolved> {
        self.resolved.sort_by_key(|resolved| KEYS.iter().position(|key| key.name == resolved.key));
        self.resolved
    }
}

fn absolute(raw: &Raw, surroundings: &Surroundings) -> Option<PathBuf> {
    let path = match raw.text.strip_prefix("~/") {
        Some(rest) => surroundings.home.as_ref()?.join(rest),
        None => PathBuf::from(&raw.text),
    };
    let base = match &raw.source {
        Source::File(file) => surroundings.working_dir.join(file.parent().unwrap_or(Path::new(""))),
        _ => surroundings.working_dir.clone(),
    };
    // Without `.` parts, so that one directory has one name in messages.
    Some(base.join(path).components().collect())
}

/// Memory of the machine, or of the control group around this process where that is less.
fn memory_mib_here() -> u64 {
    const UNKNOWN_MIB: u64 = 2048;
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:").map(str::to_owned))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib / 1024)
    });
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| read(path)?.trim().parse::<u64>().ok())
        .map(|bytes| bytes / MIB as u64);
    total.into_iter().chain(group).min().unwrap_or(UNKNOWN_MIB)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            home: Some("/home/ada".into()),
            data_home: None,
            config_home: None,
            working_dir: "/here".into(),
            memory_mib: 8000,
        }
    }

    fn layers(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
        let mut layers = Layers::default();
        layers.add_file(Path::new("/etc/pinfold.toml"), file);
        layers.add_environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        flags.iter().for_each(|(name, value)| layers.add_flag(name, (*value).to_owned()));
        layers
    }

    fn check(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], expected: Expect) {
        let shown = match settings(&layers(file, environment, flags), &surroundings()) {
            Err(mistakes) => mistakes.to_string(),
            Ok((_, resolved)) => resolved
                .iter()
                .filter(|resolved| resolved.source != Source::Default)
                .map(|resolved| format!("{} = {} ({})\n", resolved.key, resolved.text, resolved.source))
                .collect(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn defaults_stand_where_nothing_is_written() {
        let (settings, resolved) = settings(&Layers::default(), &surroundings()).expect("the defaults are right");
        assert_eq!(settings.listen.to_string(), "127.0.0.1:4566");
        assert_eq!(settings.data_dir, Path::new("/home/ada/.local/share/pinfold"));
        assert_eq!(settings.key_file, Path::new("/home/ada/.config/pinfold/master.key"));
        assert_eq!(settings.account, AccountId::DEFAULT);
        assert_eq!(settings.instances.memory_mib_max, 4000);
        assert_eq!(settings.events.function_error_delays, [Duration::from_secs(60), Duration::from_secs(120)]);
        assert_eq!(settings.events.age_max, Duration::from_secs(model::limits::EVENT_AGE_SECS_MAX));
        let names: Vec<&str> = resolved.iter().map(|resolved| resolved.key).collect();
        let all: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names, all, "every key of the table is read, once");
    }

    #[test]
    fn a_later_layer_wins() {
        check(
            "region = \"eu-west-1\"\nlisten = \"127.0.0.1:1\"\ndata_dir = \"data\"\n[events]\nage_max = \"10m\"\n",
            &[
                ("PINFOLD_LISTEN", "127.0.0.1:2"),
                ("PINFOLD_EVENTS_AGE_MAX", "20m"),
                ("HOME", "x"),
                ("PINFOLD_CONFIG", "y"),
            ],
            &[("listen", "127.0.0.1:3"), ("key_file", "./keys/master"), ("instances.memory_max", "1GiB")],
            expect![[r#"
                listen = 127.0.0.1:3 (flag)
                data_dir = /etc/data (/etc/pinfold.toml)
                key_file = /here/keys/master (flag)
                region = eu-west-1 (/etc/pinfold.toml)
                instances.memory_max = 1GiB (flag)
                events.age_max = 20m (PINFOLD_EVENTS_AGE_MAX)
            "#]],
        );
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        check(
            "lsiten = 1\nregion = [1]\naccount_id = 12\n[events]\nage_max = \"soon\"\nbackoff_first = \"10m\"\n[other]\nx = 1\n",
            &[("PINFOLD_DATADIR", "/x"), ("PINFOLD_DRAIN_MAX", "2d"), ("PINFOLD_TEST_X", "1")],
            &[
                ("trust_loopback", "true"),
                ("listen", "0.0.0.0:4566"),
                ("key_file", "/home/ada/.local/share/pinfold/key"),
            ],
            expect![[r#"
                the configuration has 10 mistakes:
                  - lsiten (/etc/pinfold.toml): is not known; is listen meant?
                  - other.x (/etc/pinfold.toml): is not known; `pinfold config check` lists every key
                  - region (/etc/pinfold.toml): must be a text, a whole number, true or false
                  - PINFOLD_DATADIR: is not known; is PINFOLD_DATA_DIR meant?
                  - account_id (/etc/pinfold.toml): account id "12" is not twelve digits
                  - drain_max (PINFOLD_DRAIN_MAX): "2d" is not between 0s and 1h
                  - events.age_max (/etc/pinfold.toml): "soon" is not a duration; write for example 90s, 10m or 6h
                  - trust_loopback (flag): would trust everybody who reaches 0.0.0.0:4566; listen on 127.0.0.1 or ::1, or leave it off
                  - key_file (flag): lies inside the data directory; a copy of that must not hold the key to its secrets
                  - events.backoff_first (/etc/pinfold.toml): is longer than events.backoff_max"#]],
        );
    }

    #[test]
    fn a_file_that_is_not_toml_says_where() {
        check(
            "listen = \n",
            &[],
            &[],
            expect![[r#"
            the configuration has a mistake: /etc/pinfold.toml: is not TOML: TOML parse error at line 1, column 10
                  |
                1 | listen = 
                  |          ^
                string values must be quoted, expected literal string"#]],
        );
    }

    #[test]
    fn without_a_home_the_paths_must_be_given() {
        let lost = Surroundings { home: None, ..surroundings() };
        let mistakes = settings(&Layers::default(), &lost).expect_err("there is no place for data");
        expect![[r#"
            the configuration has 2 mistakes:
              - data_dir: has no default, for HOME is not set: give it
              - key_file: has no default, for HOME is not set: give it"#]]
        .assert_eq(&mistakes.to_string());
    }
}
