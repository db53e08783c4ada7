//! What is deployed, as one immutable value that readers share without waiting.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use model::function::Function;
use model::ids::{AccountId, FunctionId};
use model::names::{FunctionName, Region};
use store::Revision;

use crate::packages::Package;

/// A function with its code, as of one commit.
#[derive(Debug)]
pub struct Entry {
    /// Settings and state.
    pub function: Function,
    /// Its code, kept on disk as long as somebody holds this.
    pub package: Arc<Package>,
    /// The record's revision in the store.
    pub(crate) revision: Revision,
}

/// All functions of all accounts.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    functions: BTreeMap<FunctionId, Arc<Entry>>,
}

/// A page of functions.
#[derive(Debug)]
pub struct Listed {
    /// In order of name.
    pub entries: Vec<Arc<Entry>>,
    /// The name to go on after, if there are more.
    pub next: Option<FunctionName>,
}

impl Snapshot {
    /// The function, if it is there.
    pub fn get(&self, id: &FunctionId) -> Option<&Arc<Entry>> {
        self.functions.get(id)
    }

    /// At most `limit` functions of an account in a region, in order of name, beginning after `after`.
    pub fn list(&self, account: AccountId, region: &Region, after: Option<&FunctionName>, limit: usize) -> Listed {
        let id = |name: FunctionName| FunctionId { account, region: region.clone(), name };
        let from = match after {
            Some(name) => Bound::Excluded(id(name.clone())),
            // "-" sorts before every other character that a name may hold.
            None => Bound::Included(id(FunctionName::parse("-").expect("a hyphen is a valid name"))),
        };
        let mut entries: Vec<Arc<Entry>> = self
            .functions
            .range((from, Bound::Unbounded))
            .take_while(|(id, _)| id.account == account && id.region == *region)
            .take(limit.saturating_add(1))
            .map(|(_, entry)| entry.clone())
            .collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.function.id.name.clone());
        Listed { entries, next }
    }

    /// Every function.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.functions.values()
    }

    /// How many functions there are.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Replaces an entry unless a later commit of the same function is there already.
    pub(crate) fn put(&mut self, entry: Arc<Entry>) {
        let newer = self.functions.get(&entry.function.id).is_some_and(|there| there.revision > entry.revision);
        if !newer {
            self.functions.insert(entry.function.id.clone(), entry);
        }
    }

    /// Removes the entry if it is still the one that was deleted.
    pub(crate) fn remove(&mut self, id: &FunctionId, revision: Revision) {
        if self.functions.get(id).is_some_and(|there| there.revision == revision) {
            self.functions.remove(id);
        }
    }
}
