//! Code packages, honest and hostile.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sandbox::{UnpackError, UnpackReport};

use crate::harness::{Case, World, block_on, case};

const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_700;
const LINK: u32 = 0o120_777;
const FOLDER: u32 = 0o040_700;

/// An entry as a zip file has it, with nothing checked.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
    flags: u16,
    method: u16,
    stated_bytes: Option<u32>,
}

fn entry(name: &str, mode: u32, content: &[u8]) -> Entry {
    Entry { name: name.into(), mode, content: content.to_vec(), flags: 0x800, method: 0, stated_bytes: None }
}

/// Writes a zip file (APPNOTE.TXT 4.3): local headers, central directory, end record that states `count` entries.
fn zip_of(entries: &[Entry], count: Option<u16>) -> Vec<u8> {
    let (mut body, mut central) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = body.len() as u32;
        let mut crc = flate2::Crc::new();
        crc.update(&entry.content);
        let packed = if entry.method == 8 { deflate(&entry.content) } else { entry.content.clone() };
        let stated = entry.stated_bytes.unwrap_or(entry.content.len() as u32);
        let mut common = Vec::new();
        common.extend(20_u16.to_le_bytes());
        common.extend(entry.flags.to_le_bytes());
        common.extend(entry.method.to_le_bytes());
        common.extend([0, 0, 0x21, 0x58]);
        common.extend(crc.sum().to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend(stated.to_le_bytes());
        common.extend((entry.name.len() as u16).to_le_bytes());
        common.extend(0_u16.to_le_bytes());
        body.extend(b"PK\x03\x04");
        body.extend(&common);
        body.extend(&entry.name);
        body.extend(&packed);
        central.extend(b"PK\x01\x02");
        central.extend([20, 3]);
        central.extend(&common);
        central.extend([0; 6]);
        central.extend((entry.mode << 16).to_le_bytes());
        central.extend(offset.to_le_bytes());
        central.extend(&entry.name);
    }
    let (offset, length) = (body.len() as u32, central.len() as u32);
    let count = count.unwrap_or(entries.len() as u16);
    body.extend(&central);
    body.extend(b"PK\x05\x06\0\0\0\0");
    body.extend(count.to_le_bytes());
    body.extend(count.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(offset.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A word of the refusal that an entry must meet.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let one = |entry: Entry| zip_of(&[entry], None);
    let two = |first: Entry, second: Entry| zip_of(&[first, second], None);
    let changed = |change: &dyn Fn(&mut Entry)| {
        let mut changed = entry("a", FILE, b"x");
        change(&mut changed);
        zip_of(&[changed], None)
    };
    vec![
        ("leaves_the_package_upwards", one(entry("../evil", FILE, b"x")), "leaves the package"),
        ("leaves_the_package_from_within", one(entry("a/../../evil", FILE, b"x")), "leaves the package"),
        ("has_an_absolute_path", one(entry("/tmp/evil", FILE, b"x")), "absolute path"),
        ("is_a_block_device", one(entry("disk", 0o060_644, b"")), "device"),
        ("is_a_character_device", one(entry("null", 0o020_644, b"")), "device"),
        ("is_a_pipe", one(entry("pipe", 0o010_644, b"")), "pipe"),
        ("is_a_link_out", one(entry("passwd", LINK, b"/etc/passwd")), "absolute path"),
        ("is_a_link_upwards", one(entry("up", LINK, b"../../etc")), "leaves the package"),
        (
            "writes_through_a_link",
            two(entry("here", LINK, b"sub"), entry("here/evil", FILE, b"x")),
            "another entry's place",
        ),
        ("is_file_and_folder", two(entry("a", FILE, b"x"), entry("a/b", FILE, b"x")), "another entry's place"),
        ("is_folder_and_file", two(entry("a/b", FILE, b"x"), entry("a", FILE, b"x")), "another entry's place"),
        ("is_a_folder_by_mode_only", one(entry("a", FOLDER, b"")), "not by both"),
        ("has_a_long_name", one(entry(&"n".repeat(300), FILE, b"x")), "too long a name"),
        ("has_a_zero_byte", one(entry("a\0b", FILE, b"x")), "zero byte"),
        ("has_a_name_that_is_no_text", changed(&|entry| entry.name = b"\xff\xfe".to_vec()), "not UTF-8"),
        ("is_encrypted", changed(&|entry| entry.flags |= 1), "encrypted"),
        ("uses_another_method", changed(&|entry| entry.method = 12), "other than deflate"),
        (
            "lies_about_its_size",
            {
                let mut lie = entry("zeros", FILE, &vec![0; 300 << 20]);
                lie.method = 8;
                lie.stated_bytes = Some(10);
                zip_of(&[lie], None)
            },
            "",
        ),
        (
            "is_a_bomb",
            {
                let mut bomb = entry("zeros", FILE, &vec![0; 300 << 20]);
                bomb.method = 8;
                zip_of(&[bomb], None)
            },
            "larger than",
        ),
        ("has_more_entries_than_allowed", many_entries(), "entries"),
        ("states_more_entries_than_it_has", zip_of(&[entry("a", FILE, b"x")], Some(60_000)), ""),
        (
            "states_fewer_entries_than_it_has",
            zip_of(&[entry("a", FILE, b"x"), entry("b", FILE, b"x")], Some(1)),
            "does not tell of the entries",
        ),
        ("names_a_file_twice", two(entry("a", FILE, b"x"), entry("a", FILE, b"y")), "twice"),
        (
            "leaves_by_a_link_over_a_link",
            zip_of(
                &[
                    entry("a/b/c/file", FILE, b"x"),
                    entry("a/b/c/up", LINK, b"../../.."),
                    entry("out", LINK, b"a/b/c/up/../../.."),
                ],
                None,
            ),
            "leaves the package",
        ),
        ("is_no_zip_file", b"not a zip file".to_vec(), "usable zip file"),
        ("is_empty", Vec::new(), "usable zip file"),
    ]
}

/// A million entries, as the 64-bit end record states them (APPNOTE.TXT 4.3.14); none of them is there.
fn many_entries() -> Vec<u8> {
    let mut zip = vec![0_u8; 50_000_000];
    let at = zip.len() as u64;
    zip.extend(b"PK\x06\x06");
    zip.extend(44_u64.to_le_bytes());
    zip.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    zip.extend(1_000_000_u64.to_le_bytes());
    zip.extend(1_000_000_u64.to_le_bytes());
    zip.extend(46_000_000_u64.to_le_bytes());
    zip.extend(0_u64.to_le_bytes());
    zip.extend(b"PK\x06\x07\0\0\0\0");
    zip.extend(at.to_le_bytes());
    zip.extend(1_u32.to_le_bytes());
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend([0xff; 12]);
    zip.extend(0_u16.to_le_bytes());
    zip
}

pub(crate) fn cases() -> Vec<Case> {
    let refused = hostile().into_iter().map(|(name, zip, word)| {
        case(format!("a_package_that_{name}_is_refused"), move |world| check_refused(world, &zip, word))
    });
    refused
        .chain([
            case("a_package_is_unpacked_whole_with_its_modes_and_links", honest),
            case("unpacking_twice_leaves_the_first_in_place", twice),
        ])
        .collect()
}

fn unpack(world: &World, zip: &[u8], into: &Path) -> Result<UnpackReport, UnpackError> {
    let file = into.with_extension("zip");
    std::fs::write(&file, zip).unwrap();
    let wall = world.wall();
    block_on(async { wall.unpack(&file, into).await })
}

fn target(world: &World) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir_in(world.dir()).unwrap();
    let into = dir.path().join("package");
    (dir, into)
}

fn check_refused(world: &World, zip: &[u8], word: &str) {
    let (dir, into) = target(world);
    let refusal = match unpack(world, zip, &into) {
        Err(UnpackError::Refused(refusal)) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refusal.contains(word), "{refusal}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["package.zip"], "nothing is left of it");
    assert!(!Path::new("/tmp/evil").exists());
}

fn honest(world: &World) {
    let (_dir, into) = target(world);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = 183;
    let mut large = entry("data/large", FILE, &vec![7; 1 << 20]);
    large.method = 8;
    let zip = zip_of(
        &[
            entry("app.py", FILE, b"def handler(): pass\n"),
            entry("bootstrap", PROGRAM, b"#!/bin/sh\n"),
            entry("pkg/", FOLDER, b""),
            entry("pkg/fast.cpython-312-aarch64-linux-gnu.so", FILE, &elf),
            entry("pkg/deep/er/x\\y", 0, b"backslashes are names"),
            entry("lib", LINK, b"pkg/deep"),
            entry("pkg/deep/up", LINK, b"../../app.py"),
            large,
        ],
        None,
    );
    let report = unpack(world, &zip, &into).unwrap();
    assert_eq!((report.entries, report.bytes), (8, 20 + 10 + 64 + 21 + (1 << 20)));
    assert_eq!(report.top_level, ["app.py", "bootstrap", "data", "lib", "pkg"]);
    assert_eq!(report.python_modules, ["pkg/fast.cpython-312-aarch64-linux-gnu.so"]);
    assert_eq!(report.native.iter().map(|file| file.machine).collect::<Vec<_>>(), [183]);
    let mode = |path: &str| std::fs::symlink_metadata(into.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("app.py"), mode("bootstrap"), mode("pkg"), mode(".")), (0o644, 0o755, 0o755, 0o755));
    assert_eq!(std::fs::read_link(into.join("lib")).unwrap(), Path::new("pkg/deep"));
    assert_eq!(std::fs::read(into.join("pkg/deep/up")).unwrap(), b"def handler(): pass\n");
    assert_eq!(std::fs::read(into.join("pkg/deep/er/x\\y")).unwrap(), b"backslashes are names");
    assert_eq!(std::fs::metadata(into.join("data/large")).unwrap().len(), 1 << 20);
    if world.is_root() {
        assert_ne!(std::fs::metadata(into.join("app.py")).unwrap().uid(), 0, "unpacked by a user of its own");
    }
}

fn twice(world: &World) {
    let (dir, into) = target(world);
    unpack(world, &zip_of(&[entry("first", FILE, b"1")], None), &into).unwrap();
    unpack(world, &zip_of(&[entry("second", FILE, b"2")], None), &into).unwrap();
    assert!(into.join("first").exists() && !into.join("second").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary folder is left");
}
