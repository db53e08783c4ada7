//! The catalogue itself: every change is checked, committed, then published.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use base::chain::Chain;
use base::entropy::Entropy;
use base::time::Clock;
use bytes::Bytes;
use model::function::{Architecture, Function, FunctionSettings, FunctionState, UpdateStatus};
use model::ids::{FunctionId, PackageDigest, RevisionId};
use model::runtime::Language;
use store::seal::MasterKey;
use store::{Batch, Blobs, CommitError, Revision, Scan, Store};
use tokio::sync::mpsc;

use crate::compat;
use crate::packages::{Package, PackageError, Packages, digest_of};
use crate::ports::{Contents, Interpreters, Refused, Unpacker};
use crate::record::{self, FunctionRecord, PackageRecord};
use crate::snapshot::{Entry, Snapshot};

/// What the catalogue is built on.
pub struct CatalogueParts {
    /// Where functions are recorded.
    pub store: Arc<dyn Store>,
    /// Where zip files are kept.
    pub blobs: Arc<dyn Blobs>,
    /// Seals environments.
    pub master: Arc<MasterKey>,
    /// Unpacks zip files behind the wall.
    pub unpacker: Arc<dyn Unpacker>,
    /// Knows what is installed.
    pub interpreters: Arc<dyn Interpreters>,
    /// Where packages are unpacked.
    pub unpacked_dir: PathBuf,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Makes revision ids.
    pub entropy: Arc<dyn Entropy>,
}

/// A new function.
#[derive(Debug)]
pub struct CreateFunction {
    /// Its name and place.
    pub id: FunctionId,
    /// What it runs with.
    pub settings: FunctionSettings,
    /// What it runs.
    pub zip: Bytes,
    /// Its tags.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// New code for a function.
#[derive(Debug)]
pub struct UpdateCode {
    /// The zip file.
    pub zip: Bytes,
    /// Changed together with the code, if given.
    pub architecture: Option<Architecture>,
    /// Refuse unless the function is at this revision.
    pub expected: Option<String>,
    /// Check everything, change nothing.
    pub dry_run: bool,
}

/// A changed function, with what the client should know.
#[derive(Debug)]
pub struct Updated {
    /// As it is now.
    pub entry: Arc<Entry>,
    /// Said once: which other interpreter serves the runtime, and the like.
    pub warnings: Vec<String>,
}

/// The catalogue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("read the functions")]
    Store(#[source] store::StoreError),
    /// An environment cannot be opened with this master key.
    #[error("open the environment of {0}")]
    Unseal(String, #[source] store::seal::UnsealError),
}

/// A change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is a function of that name.
    #[error("function already exists")]
    Exists,
    /// There is no such function.
    #[error("function not found")]
    NotFound,
    /// The function is not at the revision that the caller expects.
    #[error("the function is at another revision")]
    OtherRevision,
    /// The function is being created or changed; in AWS's words.
    #[error("{0}")]
    Busy(String),
    /// Somebody else changed it at the same moment.
    #[error("the function was changed at the same moment")]
    Conflict,
    /// The runtime is not one that this platform serves.
    #[error("runtime {0} is not served")]
    Runtime(String),
    /// The package cannot work here; in words for the caller.
    #[error("{0}")]
    Incompatible(String),
    /// The package was not taken in.
    #[error("take in the package")]
    Package(#[source] PackageError),
    /// The store failed.
    #[error("write the function")]
    Store(#[source] CommitError),
}

/// The functions of all accounts, durable and published.
pub struct Catalogue {
    store: Arc<dyn Store>,
    master: Arc<MasterKey>,
    interpreters: Arc<dyn Interpreters>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    packages: Packages,
    snapshot: ArcSwap<Snapshot>,
    /// Told after each commit which function changed.
    changed: mpsc::UnboundedSender<FunctionId>,
    me: Weak<Self>,
}

impl Catalogue {
    /// Reads every function and takes up its package. Also answers the stream of functions that change: each id is
    /// sent after the commit, when [`snapshot`](Self::snapshot) shows it.
    pub async fn open(parts: CatalogueParts) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<FunctionId>), OpenError> {
        let (packages, unused) = Packages::new(parts.blobs, parts.unpacker, parts.unpacked_dir);
        let (changed, changes) = mpsc::unbounded_channel();
        let catalogue = Arc::new_cyclic(|me| Self {
            store: parts.store,
            master: parts.master,
            interpreters: parts.interpreters,
            clock: parts.clock,
            entropy: parts.entropy,
            packages,
            snapshot: ArcSwap::default(),
            changed,
            me: me.clone(),
        });
        catalogue.read_all().await?;
        tokio::spawn(collect(Arc::downgrade(&catalogue), unused));
        catalogue.spawn_prepare_all();
        Ok((catalogue, changes))
    }

    /// What is deployed now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The function, if it is there.
    pub fn get(&self, id: &FunctionId) -> Option<Arc<Entry>> {
        self.snapshot.load().get(id).cloned()
    }

    /// Makes sure that a function's code is unpacked, which it is but after a start of the machine.
    pub async fn unpacked(&self, entry: &Entry) -> Result<(), PackageError> {
        self.packages.repair(&entry.package).await
    }

    /// The zip file of a package, for download.
    pub async fn zip(&self, digest: PackageDigest) -> Result<Bytes, PackageError> {
        self.packages.zip(digest).await
    }

    /// Records a new function as `Pending`; it becomes `Active` or `Failed` soon after.
    pub async fn create(&self, create: CreateFunction) -> Result<Updated, ChangeError> {
        if self.get(&create.id).is_some() {
            return Err(ChangeError::Exists);
        }
        let package = self.packages.take_in(create.zip).await.map_err(ChangeError::Package)?;
        let warnings = self.check_package(&package, &create.settings)?;
        let function = Function {
            id: create.id,
            incarnation: self.new_revision(),
            revision: self.new_revision(),
            generation: 1,
            settings: create.settings,
            package: package.digest,
            package_bytes: package.zip_bytes,
            modified: self.clock.now(),
            state: FunctionState::Pending,
            update: UpdateStatus::Successful,
            tags: create.tags,
        };
        let entry = self.commit(function, package, None).await?;
        self.spawn_prepare(entry.function.id.clone());
        Ok(Updated { entry, warnings })
    }

    /// Gives a function new code.
    pub async fn update_code(&self, id: &FunctionId, update: UpdateCode) -> Result<Updated, ChangeError> {
        let before = self.changeable(id, update.expected.as_deref())?;
        let package = self.packages.take_in(update.zip).await.map_err(ChangeError::Package)?;
        let mut function = before.function.clone();
        if let Some(architecture) = update.architecture {
            function.settings.architecture = architecture;
        }
        let warnings = self.check_package(&package, &function.settings)?;
        function.package = package.digest;
        function.package_bytes = package.zip_bytes;
        if update.dry_run {
            let entry = Arc::new(Entry { function, package, revision: before.revision });
            return Ok(Updated { entry, warnings });
        }
        self.commit_update(function, package, &before, warnings).await
    }

    /// Gives a function new settings; `change` edits a copy of those that it has.
    pub async fn update_settings(
        &self,
        id: &FunctionId,
        expected: Option<&str>,
        change: impl FnOnce(&mut FunctionSettings),
    ) -> Result<Updated, ChangeError> {
        let before = self.changeable(id, expected)?;
        let mut function = before.function.clone();
        change(&mut function.settings);
        let package = before.package.clone();
        let warnings = self.check_package(&package, &function.settings)?;
        self.commit_update(function, package, &before, warnings).await
    }

    /// Deletes a function with all that belongs to it.
    pub async fn delete(&self, id: &FunctionId) -> Result<(), ChangeError> {
        let key = record::key(id);
        loop {
            let entry = self.get(id).ok_or(ChangeError::NotFound)?;
            let mut batch = Batch::new(self.entropy.as_ref());
            batch.require_revision(&key, entry.revision);
            batch.delete(&key);
            match self.store.commit(batch).await.map_err(conflict) {
                Ok(_) => {
                    self.publish(|snapshot| snapshot.remove(id, entry.revision));
                    self.announce(id);
                    return Ok(());
                }
                // Whatever it became meanwhile is to be deleted too; the new state is published soon after its commit.
                Err(ChangeError::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn commit_update(
        &self,
        mut function: Function,
        package: Arc<Package>,
        before: &Entry,
        warnings: Vec<String>,
    ) -> Result<Updated, ChangeError> {
        function.revision = self.new_revision();
        function.generation += 1;
        function.modified = self.clock.now();
        function.update = UpdateStatus::InProgress;
        let entry = self.commit(function, package, Some(before.revision)).await?;
        self.spawn_prepare(entry.function.id.clone());
        Ok(Updated { entry, warnings })
    }

    /// The function, if it may be changed now (Lambda: "function states", updates while pending are refused).
    fn changeable(&self, id: &FunctionId, expected: Option<&str>) -> Result<Arc<Entry>, ChangeError> {
        let entry = self.get(id).ok_or(ChangeError::NotFound)?;
        if expected.is_some_and(|expected| expected != entry.function.revision.to_string()) {
            return Err(ChangeError::OtherRevision);
        }
        if entry.function.state == FunctionState::Pending {
            return Err(ChangeError::Busy(
                "The operation cannot be performed at this time. The function is currently in the following state: Pending"
                    .to_owned(),
            ));
        }
        if entry.function.update == UpdateStatus::InProgress {
            return Err(ChangeError::Busy(format!(
                "The operation cannot be performed at this time. An update is in progress for resource: {}",
                id.arn()
            )));
        }
        Ok(entry)
    }

    /// Checks the package against what would run it. A missing interpreter is no reason to refuse: the function
    /// becomes `Failed` and says why, and works after the interpreter is installed.
    fn check_package(&self, package: &Package, settings: &FunctionSettings) -> Result<Vec<String>, ChangeError> {
        if package.contents.entries == 0 {
            return Err(ChangeError::Incompatible("Uploaded file must be a non-empty zip".to_owned()));
        }
        let asked = Language::of_runtime(&settings.runtime);
        let asked = asked.ok_or_else(|| ChangeError::Runtime(settings.runtime.clone()))?;
        let Ok(served) = self.interpreters.serve(asked) else { return Ok(Vec::new()) };
        compat::check(&package.contents, settings.architecture, asked, served.language, compat::MACHINE_HERE)
            .map_err(ChangeError::Incompatible)?;
        Ok(served.warning.into_iter().collect())
    }

    async fn commit(
        &self,
        function: Function,
        package: Arc<Package>,
        expected: Option<Revision>,
    ) -> Result<Arc<Entry>, ChangeError> {
        let key = record::key(&function.id);
        let sealed = FunctionRecord::seal(&function, &self.master);
        let package_record = PackageRecord { zip_bytes: package.zip_bytes, contents: package.contents.clone() };
        let mut batch = Batch::new(self.entropy.as_ref());
        match expected {
            Some(revision) => batch.require_revision(&key, revision),
            None => batch.require_absent(&key),
        };
        let put = batch.put_record(&key, &sealed);
        batch.put_record(&record::package_shard().key(&[package.digest.to_string()]), &package_record);
        let exists = expected.is_none();
        let committed = self.store.commit(batch).await.map_err(|error| match conflict(error) {
            ChangeError::Conflict if exists => ChangeError::Exists,
            other => other,
        })?;
        let revision = committed.revision(put).expect("a put answers with a revision");
        let entry = Arc::new(Entry { function, package, revision });
        self.publish(|snapshot| snapshot.put(entry.clone()));
        self.announce(&entry.function.id);
        Ok(entry)
    }

    fn publish(&self, change: impl Fn(&mut Snapshot)) {
        self.snapshot.rcu(|snapshot| {
            let mut next = Snapshot::clone(snapshot);
            change(&mut next);
            next
        });
    }

    fn announce(&self, id: &FunctionId) {
        // Nobody listens any more while the platform stops.
        let _ = self.changed.send(id.clone());
    }

    fn new_revision(&self) -> RevisionId {
        RevisionId::from_random(self.entropy.id())
    }

    fn spawn_prepare(&self, id: FunctionId) {
        if let Some(me) = self.me.upgrade() {
            tokio::spawn(async move { me.prepare(&id).await });
        }
    }

    /// Takes functions up again whose preparation a crash cut short, or whose interpreter came or went.
    fn spawn_prepare_all(self: &Arc<Self>) {
        let me = self.clone();
        tokio::spawn(async move {
            for entry in me.snapshot().all() {
                if let Err(error) = me.unpacked(entry).await {
                    let function = entry.function.id.arn();
                    tracing::error!(function, error = %Chain(&error), "the function's package is not unpacked: it cannot run");
                }
                me.prepare(&entry.function.id).await;
            }
        });
    }

    /// Brings a function from `Pending` to `Active` or `Failed`, and an update to its end. Safe to repeat.
    async fn prepare(&self, id: &FunctionId) {
        loop {
            let Some(entry) = self.get(id) else { return };
            let mut function = entry.function.clone();
            let served = Language::of_runtime(&function.settings.runtime)
                .ok_or_else(|| format!("The runtime {} is not served.", function.settings.runtime))
                .and_then(|language| self.interpreters.serve(language));
            match served {
                Ok(_) => {
                    function.state = FunctionState::Active;
                    function.update = UpdateStatus::Successful;
                }
                Err(reason) => {
                    let code = "InvalidRuntime".to_owned();
                    function.state = FunctionState::Failed { code: code.clone(), reason: reason.clone() };
                    function.update = UpdateStatus::Failed { code, reason };
                }
            }
            if function.state == entry.function.state && function.update == entry.function.update {
                return;
            }
            function.revision = self.new_revision();
            match self.commit(function, entry.package.clone(), Some(entry.revision)).await {
                Ok(_) => return,
                Err(ChangeError::Conflict) => {}
                Err(error) => {
                    tracing::error!(function = %id.arn(), error = %Chain(&error), "the function's state was not recorded");
                    return;
                }
            }
        }
    }

    async fn read_all(&self) -> Result<(), OpenError> {
        let mut snapshot = Snapshot::default();
        let mut after = None;
        loop {
            let scan = Scan::new(record::shard().all()).after(after);
            let (records, next) =
                store::scan_records::<FunctionRecord>(self.store.as_ref(), scan).await.map_err(OpenError::Store)?;
            for (_, record, revision) in records {
                let name = record.name();
                let function = record.open(&self.master).map_err(|source| OpenError::Unseal(name, source))?;
                let package = self.adopt_package(&function).await?;
                snapshot.put(Arc::new(Entry { function, package, revision }));
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.collect_leftovers(&snapshot).await;
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    /// A function is never left out: one whose package is damaged stays visible, and its invocations fail and are tried
    /// again, until the package can be unpacked or is replaced.
    async fn adopt_package(&self, function: &Function) -> Result<Arc<Package>, OpenError> {
        let digest = function.package;
        if let Some(package) = self.packages.live(digest) {
            return Ok(package);
        }
        let key = record::package_shard().key(&[digest.to_string()]);
        let stored = store::get_record::<PackageRecord>(self.store.as_ref(), &key).await.map_err(OpenError::Store)?;
        let contents = match stored {
            Some((record, _)) => record.contents,
            None => {
                tracing::error!(function = %function.id.arn(), %digest, "what is in the function's package is not known");
                Contents { bytes: 0, entries: 1, native: Vec::new() }
            }
        };
        Ok(self.packages.adopt(digest, function.package_bytes, contents))
    }

    /// Removes packages that a crash, or a refusal that it cut short, left without a function.
    async fn collect_leftovers(&self, snapshot: &Snapshot) {
        let found = match self.packages.found().await {
            Ok(found) => found,
            Err(error) => {
                return tracing::warn!(error = %Chain(&error), "unused packages were not looked for");
            }
        };
        let used: HashSet<_> = snapshot.all().map(|entry| entry.package.digest).collect();
        for digest in found.difference(&used) {
            self.collect_package(*digest).await;
        }
    }

    /// Removes a package unless somebody holds it: every function and every instance holds its own, and so does a change
    /// from before its commit until after it.
    async fn collect_package(&self, digest: PackageDigest) {
        let claim = self.packages.claim(digest).await;
        if self.packages.live(digest).is_some() {
            return;
        }
        let mut batch = Batch::new(self.entropy.as_ref());
        batch.delete(&record::package_shard().key(&[digest.to_string()]));
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(%digest, error = %Chain(&error), "the record of an unused package stays behind");
            return;
        }
        self.packages.remove_files(&claim).await;
    }
}

async fn collect(catalogue: Weak<Catalogue>, mut unused: mpsc::UnboundedReceiver<PackageDigest>) {
    while let Some(digest) = unused.recv().await {
        let Some(catalogue) = catalogue.upgrade() else { return };
        catalogue.collect_package(digest).await;
    }
}

fn conflict(error: CommitError) -> ChangeError {
    match error {
        CommitError::Conflict(_) => ChangeError::Conflict,
        other => ChangeError::Store(other),
    }
}

/// Says in AWS's words why a package was refused, or `None` if it is the platform's fault.
pub fn refusal_text(refused: &Refused) -> Option<String> {
    match refused {
        Refused::NotZip(_) => {
            Some("Could not unzip uploaded file. Please check your file, then try to upload again.".to_owned())
        }
        Refused::TooLarge => {
            Some(format!("Unzipped size must be smaller than {} bytes", model::limits::PACKAGE_UNZIPPED_BYTES_MAX))
        }
        Refused::Entry(text) => Some(format!("The package was refused: {text}")),
        Refused::Platform(_) => None,
    }
}

/// The digest that [`UpdateCode`] would give this zip file.
pub fn package_digest(zip: &[u8]) -> PackageDigest {
    digest_of(zip)
}
