//! Every key of the configuration, once: its name, its default and what it means.

/// One key. In a file it is written as in `name`, a dot being a table; in the environment as [`Key::variable`].
#[derive(Debug)]
pub struct Key {
    /// `listen`, `events.age_max`.
    pub name: &'static str,
    /// The default as it would be written; empty where it depends on the user's home.
    pub default: &'static str,
    /// One line for people.
    pub meaning: &'static str,
}

impl Key {
    /// `PINFOLD_EVENTS_AGE_MAX`.
    pub fn variable(&self) -> String {
        format!("PINFOLD_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, meaning }
}

/// The keys, in the order in which `pinfold config check` prints them.
pub const KEYS: &[Key] = &[
    key("listen", "127.0.0.1:4566", "address and port of the API; port 0 takes a free one"),
    key("data_dir", "", "where everything is kept; by default pinfold in the user's data home"),
    key(
        "key_file",
        "",
        "the master key, outside the data directory; by default pinfold/master.key in the user's config home",
    ),
    key("account_id", "000000000000", "the account that the first start creates"),
    key("region", "us-east-1", "the region in ARNs and for functions"),
    key("trust_loopback", "false", "accept any access key; only on a loopback address"),
    key("allow_weak_isolation", "false", "run functions although this machine cannot wall them off"),
    key("log", "info", "what the platform itself logs: error, warn, info, debug, trace, or a filter by target"),
    key("drain_max", "10s", "how long a stop waits for running invocations"),
    key("instances.memory_max", "50%", "memory of all instances together, an amount or a share of the machine's"),
    key("instances.count_max", "1000", "instances alive at once"),
    key("instances.idle_max", "10m", "an instance that was idle for so long is stopped"),
    key(
        "instances.waiting_max",
        "1000",
        "invocations that may wait for an instance; those of one function take up to half of it",
    ),
    key("events.retry_first", "1m", "event invocations: delay after the first function error"),
    key("events.retry_second", "2m", "event invocations: delay after the second function error"),
    key("events.backoff_first", "1s", "event invocations: first delay after a throttle or a platform failure; doubles"),
    key("events.backoff_max", "5m", "event invocations: longest delay after a throttle or a platform failure"),
    key("events.age_max", "6h", "event invocations: dropped when older"),
    key("logs.total_max", "1GiB", "all log lines together; the oldest are deleted first"),
    key("logs.age_max", "14d", "log lines and usage facts are deleted when older"),
    key("connections.count_max", "1024", "connections that a listener serves at once"),
    key("connections.head_max", "60s", "time for a request's head to arrive; an idle connection is closed after it"),
    key("connections.body_max", "60s", "time for a request's body to arrive"),
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key whose name is nearest to a mistyped one, if any is near.
pub fn nearest(name: &str) -> Option<&'static Key> {
    let near = |key: &&Key| {
        let last = key.name.rsplit('.').next().unwrap_or(key.name);
        distance(name, key.name).min(distance(name, last))
    };
    KEYS.iter().min_by_key(near).filter(|key| near(key) <= 3)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_share_a_variable() {
        let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), KEYS.len());
        assert!(variables.contains("PINFOLD_EVENTS_AGE_MAX"));
    }

    #[test]
    fn a_typing_mistake_finds_the_key_that_was_meant() {
        let cases = [("lsiten", Some("listen")), ("data-dir", Some("data_dir")), ("age_max", Some("events.age_max"))];
        for (typed, meant) in cases {
            assert_eq!(nearest(typed).map(|key| key.name), meant, "{typed}");
        }
        assert!(nearest("something_else_entirely").is_none());
    }
}
