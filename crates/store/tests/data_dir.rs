//! The data directory: one process, one clear message for each way it cannot be opened, nothing damaged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base::chain::Chain;
use base::entropy::SystemEntropy;
use bytes::Bytes;
use store::{
    Batch, BlobCondition, BlobError, BlobKey, BlobSource, DataDir, DataDirOptions, Key, OpenError, Read, Shard, Store,
    StoreError, StoreOptions,
};
use tempfile::TempDir;

/// Names the directory that the helper process opens.
const HELPER_PATH: &str = "STORE_TEST_DATA_DIR";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> Result<DataDir, OpenError> {
    DataDir::open(path, DataDirOptions::default())
}

fn key() -> Key {
    Shard::new(&["s"]).key(&["k"])
}

async fn put(store: &dyn Store, value: impl Into<Bytes>) {
    let mut batch = Batch::new(&SystemEntropy);
    batch.put(&key(), value);
    store.commit(batch).await.expect("commits");
}

async fn get(store: &dyn Store) -> Option<Bytes> {
    let answer = store.read(Read::get(key())).await.expect("reads");
    answer.get.into_iter().next().flatten().map(|stored| stored.value)
}

#[tokio::test]
async fn keeps_everything_from_one_start_to_the_next() {
    let folder = folder();
    let path = folder.path().join("deep/data");
    let data_dir = open(&path).expect("makes it");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700);
    put(&*data_dir.store(), "kept").await;
    let blob = BlobKey::new("space", "name").expect("a key");
    data_dir.blobs().put(&blob, BlobSource::Bytes("blob".into()), BlobCondition::Any).await.expect("puts");
    let mut once = Batch::new(&SystemEntropy);
    once.add(&Shard::new(&["s"]).key(&["counter"]), 1);
    let first = data_dir.store().commit(once.clone()).await.expect("commits");
    let old = data_dir.store();
    data_dir.close().await;
    assert!(matches!(old.read(Read::get(key())).await, Err(StoreError::Closed)));

    let data_dir = open(&path).expect("opens");
    assert_eq!(get(&*data_dir.store()).await, Some("kept".into()));
    assert_eq!(data_dir.blobs().get(&blob, None).await.expect("reads"), "blob");
    assert_eq!(data_dir.store().commit(once).await.expect("answers again"), first);
    assert!(data_dir.path().is_absolute());
}

#[tokio::test]
async fn a_second_process_is_told_who_has_it() {
    let folder = folder();
    let data_dir = open(folder.path()).expect("opens");
    let refused = open(folder.path()).err().expect("refused");
    let expected =
        format!("the data directory {} is in use by process {}", folder.path().display(), std::process::id());
    assert_eq!(refused.to_string(), expected);
    data_dir.close().await;
    open(folder.path()).expect("opens now");
}

#[test]
fn each_obstacle_has_one_clear_message_and_nothing_is_changed() {
    type Prepare = fn(&Path);
    let prepared: [(Prepare, &str); 9] = [
        (|path| fs::write(path, "x").expect("written"), "PATH is not a directory"),
        (
            |path| {
                fs::create_dir(path).expect("made");
                fs::write(path.join("thesis.tex"), "x").expect("written");
            },
            "PATH is neither empty nor a data directory: name another one",
        ),
        (
            |path| {
                make(path);
                fs::write(path.join("FORMAT"), "pinfold data directory, format 7\n").expect("written");
            },
            "the data directory PATH has format 7, written by a newer version; this one knows formats up to 1",
        ),
        (
            |path| {
                make(path);
                fs::write(path.join("FORMAT"), "something").expect("written");
            },
            "the data directory PATH is damaged: FORMAT holds something else",
        ),
        (
            |path| {
                make(path);
                let database = rusqlite::Connection::open(path.join("state.db")).expect("opens");
                database.pragma_update(None, "user_version", 9).expect("changes");
            },
            "the data directory PATH has format 9, written by a newer version; this one knows formats up to 1",
        ),
        (
            |path| {
                make(path);
                fs::write(path.join("state.db"), vec![b'x'; 20_000]).expect("written");
            },
            "the data directory PATH is damaged: file is not a database: Error code 26: file is not a database",
        ),
        (
            |path| {
                make(path);
                fs::remove_dir_all(path.join("cache")).expect("removed");
                symlink("/tmp", path.join("cache")).expect("linked");
            },
            "open the data directory PATH: not a directory",
        ),
        (
            |path| {
                make(path);
                fs::rename(path.join("state.db"), path.with_extension("moved")).expect("moved");
                symlink(path.with_extension("moved"), path.join("state.db")).expect("linked");
            },
            "open the data directory PATH: unable to open database file: PATH/state.db: \
                Error code 1550: unable to open database file",
        ),
        (
            |path| {
                fs::create_dir(path).expect("made");
                symlink("/etc/hostname", path.join("LOCK")).expect("linked");
            },
            "open the data directory PATH: Too many levels of symbolic links (os error 40)",
        ),
    ];
    for (prepare, expected) in prepared {
        let folder = folder();
        let path = folder.path().canonicalize().expect("there").join("data");
        prepare(&path);
        let refused = open(&path).err().unwrap_or_else(|| panic!("opened, though: {expected}"));
        assert_eq!(Chain(&refused).to_string().replace(&path.display().to_string(), "PATH"), expected);
        let beneath = open(&path.join("beneath/it"));
        if path.is_file() {
            assert!(matches!(beneath, Err(OpenError::NotADirectory { .. })));
        }
    }
}

/// Leaves a data directory behind that nobody has open.
fn make(path: &Path) {
    drop(open(path).expect("opens"));
    wait_for_lock(path);
}

/// A dropped directory lets go of its lock when its threads have ended.
fn wait_for_lock(path: &Path) {
    for _ in 0..1000 {
        match fs::File::open(path.join("LOCK")).map(|file| file.try_lock()) {
            Ok(Err(_)) => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
    panic!("the lock of {} was not let go", path.display());
}

#[test]
fn an_interrupted_first_start_is_taken_up_again() {
    for left_behind in [&["LOCK"][..], &["LOCK", "FORMAT.new"], &["lost+found"], &[]] {
        let folder = folder();
        for name in left_behind {
            fs::write(folder.path().join(name), "").expect("written");
        }
        open(folder.path()).expect("opens");
    }
}

#[test]
fn a_first_start_that_was_cut_off_at_its_database_is_taken_up_again() {
    type CutOff = fn(&Path);
    let cut_off: [CutOff; 3] = [
        |database| fs::remove_file(database).expect("removed"),
        |database| fs::write(database, "").expect("written"),
        |database| without_tables(database),
    ];
    for cut_off in cut_off {
        let folder = folder();
        make(folder.path());
        fs::remove_dir(folder.path().join("blobs/.new")).expect("made last");
        cut_off(&folder.path().join("state.db"));
        open(folder.path()).expect("opens");
    }
}

#[tokio::test]
async fn a_lost_database_is_never_replaced_by_an_empty_one() {
    type Lose = fn(&Path);
    let lost: [(Lose, &str); 3] = [
        (|database| fs::remove_file(database).expect("removed"), "is missing"),
        (|database| fs::write(database, "").expect("written"), "is empty"),
        (|database| without_tables(database), "holds nothing"),
    ];
    for (lose, what) in lost {
        let folder = folder();
        let path = folder.path().canonicalize().expect("there").join("data");
        let data_dir = open(&path).expect("opens");
        put(&*data_dir.store(), "kept").await;
        let package = BlobKey::new("packages", "sha256-0a").expect("a key");
        data_dir.blobs().put(&package, BlobSource::Bytes("x".into()), BlobCondition::Any).await.expect("puts");
        data_dir.close().await;
        // Each of these alone shows that there was a database.
        for (number, mark) in ["KEY", "blobs/packages", "segments/lines"].into_iter().enumerate() {
            let copy = folder.path().canonicalize().expect("there").join(number.to_string());
            copy_all(&path, &copy);
            for folder in ["blobs", "segments"].iter().filter(|folder| !mark.starts_with(**folder)) {
                fs::remove_dir_all(copy.join(folder)).expect("removed");
            }
            match mark {
                "KEY" => fs::write(copy.join(mark), "0a\n").expect("written"),
                _ => fs::create_dir_all(copy.join(mark)).expect("made"),
            }
            lose(&copy.join("state.db"));
            let before = files(&copy);
            let refused = open(&copy).err().unwrap_or_else(|| panic!("opened, though the database {what}"));
            assert!(matches!(refused, OpenError::Damaged { .. }));
            let expected = format!(
                "the data directory {} is damaged: its database {what}: restore state.db (and state.db-wal, if there \
                    was one) from a backup, or name another directory",
                copy.display()
            );
            assert_eq!(Chain(&refused).to_string(), expected);
            assert_eq!(files(&copy), before, "nothing was changed");
            fs::copy(path.join("state.db"), copy.join("state.db")).expect("restored");
            assert_eq!(get(&*open(&copy).expect("opens again").store()).await, Some("kept".into()));
        }
    }
}

/// What is left of a database when its log, in which the tables were, is gone.
fn without_tables(database: &Path) {
    fs::write(database, "").expect("written");
    let database = rusqlite::Connection::open(database).expect("opens");
    database.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).expect("changes");
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("there").map(|entry| entry.expect("read")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Every file with its content, but the lock, which names who tried last.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(folder).expect("there").map(|entry| entry.expect("read").path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("LOCK") {
            found.insert(path.clone(), fs::read(&path).expect("read"));
        }
    }
    found
}

#[test]
fn an_unreadable_directory_is_named() {
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = folder.path().join("data");
    make(&path);
    // The superuser may read everything, so the helper runs as nobody.
    let helper = folder.path().join("helper");
    fs::copy(std::env::current_exe().expect("known"), &helper).expect("copied");
    let root = fs::read_dir("/root").is_ok();
    if !root {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("chmod");
    }
    let mut command = Command::new(&helper);
    command.args(["--exact", "helper_opens_the_directory", "--ignored", "--nocapture"]).env(HELPER_PATH, &path);
    if root {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!("no permission to read and write the data directory {}", path.display());
    assert!(said.contains(&expected), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("chmod");
    open(&path).expect("opens for its owner");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn helper_opens_the_directory() {
    let path = std::env::var_os(HELPER_PATH).expect("named");
    match open(Path::new(&path)) {
        Ok(_) => println!("opened"),
        Err(error) => println!("{error}"),
    }
}

#[test]
fn scratch_is_emptied_and_links_are_not_followed() {
    let folder = folder();
    let (path, outside) = (folder.path().join("data"), folder.path().join("outside"));
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("precious"), "x").expect("written");
    let data_dir = open(&path).expect("opens");
    let (scratch, cache) = (data_dir.scratch_dir(), data_dir.cache_dir());
    drop(data_dir);
    wait_for_lock(&path);
    fs::create_dir_all(scratch.join("a/b")).expect("made");
    symlink(&outside, scratch.join("link")).expect("linked");
    symlink(&outside, scratch.join("a/b/link")).expect("linked");
    fs::write(cache.join("kept"), "x").expect("written");
    let _data_dir = open(&path).expect("opens");
    assert_eq!(fs::read_dir(&scratch).expect("there").count(), 0);
    assert!(outside.join("precious").exists());
    assert!(cache.join("kept").exists());
}

#[test]
fn the_cache_does_not_outlive_a_start_of_the_machine() {
    let folder = folder();
    let path = folder.path().join("data");
    let reopened = |path: &Path| {
        let data_dir = open(path).expect("opens");
        let cache = data_dir.cache_dir();
        drop(data_dir);
        wait_for_lock(path);
        cache
    };
    let cache = reopened(&path);
    fs::write(cache.join("unsynced"), "").expect("written");
    reopened(&path);
    assert!(cache.join("unsynced").exists(), "kept while the machine runs");
    fs::write(cache.join("BOOT"), "another run of the machine\n").expect("written");
    reopened(&path);
    assert!(!cache.join("unsynced").exists());
}

#[test]
fn everything_is_the_owners_alone_and_others_pass_only_when_let() {
    let folder = folder();
    let path = folder.path().join("data");
    let data_dir = open(&path).expect("opens");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    for entry in fs::read_dir(&path).expect("there").map(|entry| entry.expect("read").path()) {
        assert_eq!(mode(&entry) & 0o077, 0, "{}", entry.display());
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("closed");
    let above = data_dir.let_others_pass().expect_err("closed above");
    assert_eq!(above.to_string(), format!("{} is closed to other users", folder.path().display()));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    data_dir.let_others_pass().expect("opened below");
    for folder in [path.clone(), data_dir.cache_dir(), data_dir.scratch_dir()] {
        assert_eq!(mode(&folder), 0o711);
    }
    assert_eq!(mode(&path.join("state.db")), 0o600);
}

#[tokio::test]
async fn blobs_follow_no_links() {
    let folder = folder();
    let (path, outside) = (folder.path().join("data"), folder.path().join("outside"));
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("precious"), "x").expect("written");
    let blobs = open(&path).expect("opens").blobs();
    let put = async |space: &str, name: &str| {
        let key = BlobKey::new(space, name).expect("a key");
        blobs.put(&key, BlobSource::Bytes("new".into()), BlobCondition::Any).await
    };
    let get = async |space: &str, name: &str| blobs.get(&BlobKey::new(space, name).expect("a key"), None).await;

    symlink(&outside, path.join("blobs/space")).expect("linked");
    assert!(matches!(put("space", "precious").await, Err(BlobError::Failed { .. })));
    assert!(matches!(blobs.list("space", "", None, 9).await, Err(BlobError::Failed { .. })));
    put("other", "file").await.expect("puts");
    symlink(&outside, path.join("blobs/other/pr")).expect("linked");
    assert!(matches!(get("other", "precious").await, Err(BlobError::Failed { .. })));
    assert!(matches!(put("other", "precious").await, Err(BlobError::Failed { .. })));
    symlink(outside.join("precious"), path.join("blobs/other/fi/fine")).expect("linked");
    assert!(matches!(get("other", "fine").await, Err(BlobError::Failed { .. })));
    put("other", "fine").await.expect("replaces the link");
    assert_eq!(get("other", "fine").await.expect("reads"), "new");
    assert_eq!(fs::read_to_string(outside.join("precious")).expect("there"), "x");
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 1);
}

#[test]
fn the_directory_accepts_only_the_key_that_it_remembers() {
    let folder = folder();
    let path = folder.path().join("data");
    let data_dir = open(&path).expect("opens");
    let (key_file, other_file) = (folder.path().join("key"), folder.path().join("other"));
    let sealed = data_dir.master_key(&key_file).expect("makes one").seal(b"context", b"secret");
    let again = data_dir.master_key(&key_file).expect("loads it");
    assert_eq!(**again.unseal(b"context", &sealed).expect("opens"), *b"secret");

    let refuse = |key_file: &Path| {
        let refused = data_dir.master_key(key_file).expect_err("refused").to_string();
        refused
            .replace(&folder.path().canonicalize().expect("there").display().to_string(), "DIR")
            .replace(&folder.path().display().to_string(), "DIR")
    };
    let missing = "the secrets in DIR/data were sealed with a key that is not in DIR/other: \
        put the file back, or name it with --key-file";
    assert_eq!(refuse(&other_file), missing);
    assert!(!other_file.exists(), "a lost key is never replaced");
    store::MasterKey::load_or_create(&other_file).expect("makes another");
    let other = "the secrets in DIR/data were sealed with another key than the one in DIR/other: \
        name the right one with --key-file";
    assert_eq!(refuse(&other_file), other);
    let inside = "the key file DIR/data/deep/key lies inside the data directory, \
        whose backups must not hold it: name another place with --key-file";
    assert_eq!(refuse(&path.join("deep/key")), inside);
    symlink(&path, folder.path().join("link")).expect("linked");
    assert!(refuse(&folder.path().join("link/key")).contains("lies inside"));
}

#[tokio::test]
async fn a_directory_that_forgot_its_key_takes_no_new_one_and_remembers_only_a_proven_one() {
    // Gone, or cut off.
    for left in [None, Some(""), Some("0a0b\n")] {
        let folder = folder();
        let path = folder.path().canonicalize().expect("there").join("data");
        let [right, wrong, nowhere] = ["right", "wrong", "nowhere"].map(|name| folder.path().join(name));
        let data_dir = open(&path).expect("opens");
        let key = data_dir.master_key(&right).expect("makes one");
        put(&*data_dir.store(), key.seal(b"context", b"secret")).await;
        data_dir.close().await;
        let remembered = fs::read(path.join("KEY")).expect("remembered at once, while nothing is sealed");
        match left {
            Some(left) => fs::write(path.join("KEY"), left).expect("written"),
            None => fs::remove_file(path.join("KEY")).expect("removed"),
        }
        let forgotten = fs::read(path.join("KEY")).ok();

        let data_dir = open(&path).expect("opens");
        let refused = data_dir.master_key(&nowhere).expect_err("refused").to_string();
        assert!(refused.contains("put the file back"), "{refused}");
        assert!(!nowhere.exists(), "no key takes the place of a lost one");
        store::MasterKey::load_or_create(&wrong).expect("makes another");
        let sealed = get(&*data_dir.store()).await.expect("there");
        let unproven = data_dir.master_key(&wrong).expect("taken, to be proven");
        assert!(unproven.unseal(b"context", &sealed).is_err());
        assert_eq!(fs::read(path.join("KEY")).ok(), forgotten, "no key is remembered before it is proven");

        let proven = data_dir.master_key(&right).expect("not locked out");
        assert_eq!(**proven.unseal(b"context", &sealed).expect("opens"), *b"secret");
        data_dir.remember_key(&proven).expect("remembered");
        assert_eq!(fs::read(path.join("KEY")).expect("there"), remembered);
        assert!(data_dir.master_key(&wrong).is_err());
    }
}

#[test]
fn a_key_file_that_cannot_serve_is_refused_before_anything_is_made() {
    let folder = folder();
    let base = folder.path().canonicalize().expect("there");
    let data = base.join("data");
    symlink(&data, base.join("to-data")).expect("linked");
    symlink(data.join("key"), base.join("to-key")).expect("linked");
    symlink("to-key", base.join("to-link")).expect("linked");
    symlink(base.join("nothing"), base.join("to-nothing")).expect("linked");
    symlink("loop", base.join("loop")).expect("linked");
    fs::write(base.join("text"), "no key").expect("written");
    fs::set_permissions(base.join("text"), fs::Permissions::from_mode(0o600)).expect("chmod");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(base.join("pipe")).status().expect("runs").success());
    for is_made in [false, true] {
        if is_made {
            make(&data);
        }
        let look = || (fs::read_dir(&base).expect("there").count(), is_made.then(|| files(&data)));
        let before = look();
        let check = |key_file: &str, expected: &str| {
            let found = store::seal::check_key_file(&data, &base.join(key_file));
            let found = found.map_or_else(|refused| refused.to_string(), |()| "fine".to_owned());
            assert!(found.contains(expected), "{key_file}, made: {is_made}: {found}");
        };
        for inside in
            ["data", "data/key", "data/a/../b", "to-data/key", "to-key", "to-link", "a/../data/key", "./data/x"]
        {
            check(inside, "lies inside the data directory");
        }
        for other in ["/dev/null", "text", "pipe", "to-nothing", "."] {
            check(other, "holds no key");
        }
        for unreadable in ["loop", "text/below"] {
            check(unreadable, "read the key file");
        }
        for fine in ["key", "deep/key", "data-key"] {
            check(fine, "fine");
        }
        assert_eq!(look(), before, "nothing was made");
    }
}

#[tokio::test]
async fn the_log_of_the_database_stays_bounded() {
    let folder = folder();
    let store = StoreOptions { checkpoint_pages: 16, wal_pages_max: 64, ..StoreOptions::default() };
    let data_dir = DataDir::open(folder.path(), DataDirOptions { store }).expect("opens");
    let mut largest = 0;
    for n in 0..300u32 {
        put(&*data_dir.store(), vec![n as u8; 40_000]).await;
        largest = largest.max(fs::metadata(folder.path().join("state.db-wal")).expect("there").len());
    }
    assert!(largest < 3 << 20, "{largest} bytes of log for 12 MB written");
    data_dir.close().await;
    assert!(!folder.path().join("state.db-wal").exists());
}
