//! What becomes of packages: refused ones leave nothing, shared ones stay, damaged ones take no function with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::entropy::SystemEntropy;
use base::time::SystemClock;
use bytes::Bytes;
use functions::{
    BoxFuture, Catalogue, CatalogueParts, ChangeError, Contents, CreateFunction, Interpreters, Refused, Served,
    Unpacker,
};
use model::function::{Architecture, FunctionSettings};
use model::ids::{AccountId, FunctionId};
use model::names::{FunctionName, Region};
use model::runtime::Language;
use store::data_dir::{DataDir, DataDirOptions};
use store::seal::MasterKey;

/// Makes the directory, unless told to fail.
struct Unpacking(Arc<AtomicBool>);

impl Unpacker for Unpacking {
    fn unpack<'a>(&'a self, _: &'a Path, into: &'a Path) -> BoxFuture<'a, Result<Contents, Refused>> {
        Box::pin(async move {
            if self.0.load(Ordering::SeqCst) {
                return Err(Refused::Platform("the launcher is gone".to_owned()));
            }
            tokio::task::yield_now().await;
            std::fs::create_dir_all(into).map_err(|error| Refused::Platform(error.to_string()))?;
            Ok(Contents { bytes: 1, entries: 1, native: Vec::new() })
        })
    }
}

struct AllInstalled;

impl Interpreters for AllInstalled {
    fn serve(&self, language: Language) -> Result<Served, String> {
        Ok(Served { language, warning: None })
    }
}

struct World {
    _folder: tempfile::TempDir,
    data_dir: DataDir,
    fails: Arc<AtomicBool>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data_dir = DataDir::open(&folder.path().join("data"), DataDirOptions::default()).expect("a data directory");
        Self { _folder: folder, data_dir, fails: Arc::default() }
    }

    /// Opens the catalogue as a start of the platform does.
    async fn open(&self) -> Arc<Catalogue> {
        let parts = CatalogueParts {
            store: self.data_dir.store(),
            blobs: self.data_dir.blobs(),
            master: Arc::new(MasterKey::from_bytes([7; 32])),
            unpacker: Arc::new(Unpacking(self.fails.clone())),
            interpreters: Arc::new(AllInstalled),
            unpacked_dir: self.data_dir.cache_dir().join("packages"),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        Catalogue::open(parts).await.expect("the catalogue opens").0
    }

    async fn zips(&self) -> usize {
        self.data_dir.blobs().list("packages", "", None, 100).await.expect("a list").len()
    }

    async fn wait_for_zips(&self, count: usize) {
        let waited = async {
            while self.zips().await != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waited).await.expect("that many zip files");
    }
}

fn id(name: &str) -> FunctionId {
    FunctionId {
        account: AccountId::DEFAULT,
        region: Region::parse("us-east-1").expect("a region"),
        name: FunctionName::parse(name).expect("a name"),
    }
}

fn new_function(name: &str, zip: &'static [u8]) -> CreateFunction {
    let settings = FunctionSettings {
        description: String::new(),
        role: String::new(),
        runtime: "python3.12".to_owned(),
        handler: "app.handler".to_owned(),
        timeout_secs: 3,
        memory_mib: 128,
        ephemeral_mib: 512,
        architecture: Architecture::X86_64,
        environment: BTreeMap::new(),
        inert: BTreeMap::new(),
    };
    CreateFunction { id: id(name), settings, zip: Bytes::from_static(zip), tags: BTreeMap::new() }
}

/// A function that is being made ready changes once more; deleting it must not be taken for a conflict.
async fn delete(catalogue: &Catalogue, name: &str) {
    while let Err(error) = catalogue.delete(&id(name)).await {
        assert!(matches!(error, ChangeError::Conflict), "{error:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_package_leaves_nothing_behind() {
    let world = World::new();
    let catalogue = world.open().await;
    world.fails.store(true, Ordering::SeqCst);
    let refused = catalogue.create(new_function("f", b"zip")).await;
    assert!(matches!(refused, Err(ChangeError::Package(_))), "{refused:?}");
    assert_eq!(world.zips().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_goes_with_its_last_function() {
    let world = World::new();
    let catalogue = world.open().await;
    catalogue.create(new_function("one", b"zip")).await.expect("created");
    catalogue.create(new_function("two", b"zip")).await.expect("created");
    assert_eq!(world.zips().await, 1);
    delete(&catalogue, "one").await;
    assert!(catalogue.zip(catalogue.get(&id("two")).expect("it is there").package.digest).await.is_ok());
    delete(&catalogue, "two").await;
    world.wait_for_zips(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_cannot_be_unpacked_takes_no_function_with_it() {
    let world = World::new();
    world.open().await.create(new_function("f", b"zip")).await.expect("created");
    std::fs::remove_dir_all(world.data_dir.cache_dir().join("packages")).expect("the unpacked packages go");
    world.fails.store(true, Ordering::SeqCst);
    let damaged = world.open().await;
    let entry = damaged.get(&id("f")).expect("the function is still there");
    assert!(damaged.zip(entry.package.digest).await.is_ok(), "its code too");
    drop((damaged, entry));
    world.fails.store(false, Ordering::SeqCst);
    let repaired = world.open().await;
    let dir = repaired.get(&id("f")).expect("it is there").package.dir.clone();
    let waited = async {
        while !dir.is_dir() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited).await.expect("unpacked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_package_that_is_deleted_and_deployed_again_at_once_stays() {
    let world = World::new();
    let catalogue = world.open().await;
    for round in 0..60 {
        let (old, new) = (format!("f{round}"), format!("f{}", round + 1));
        if round == 0 {
            catalogue.create(new_function(&old, b"zip")).await.expect("created");
        }
        let creating = {
            let (catalogue, new) = (catalogue.clone(), new.clone());
            tokio::spawn(async move { catalogue.create(new_function(&new, b"zip")).await.map(drop) })
        };
        delete(&catalogue, &old).await;
        creating.await.expect("no panic").expect("created");
        let entry = catalogue.get(&id(&new)).expect("it is there");
        assert!(catalogue.zip(entry.package.digest).await.is_ok(), "round {round}: the zip file is gone");
        assert!(entry.package.dir.is_dir(), "round {round}: the directory is gone");
    }
    // And a start finds what is in it.
    let again = world.open().await;
    assert_eq!(again.get(&id("f60")).expect("it is there").package.contents.entries, 1);
}
