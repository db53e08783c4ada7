//! The file system of a cell: an empty root in which only the system, the code and a private `/tmp` appear.

use std::ffi::CString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::message::Work;
use super::{GUEST_UID, RUNTIME_DIR, TASK_DIR, TMP_INODES_PER_MIB, sys};

/// What the system's programs and libraries are made of; those that are links on the host are links in the cell.
pub(super) const SYSTEM_DIRS: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];
/// What programs look up in `/etc` and is the same for everyone. Nothing that can hold a secret.
const CONFIGURATION: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
    "/etc/alternatives",
    "/etc/mime.types",
    "/etc/localtime",
];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Parts of `/proc` that tell of or reach the host.
const HIDDEN_IN_PROC: &[&str] = &[
    "acpi",
    "asound",
    "bus",
    "config.gz",
    "driver",
    "fs",
    "irq",
    "kallsyms",
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "mtrr",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "sysvipc",
    "timer_list",
    "tty",
    "vmallocinfo",
    "cmdline",
    "diskstats",
    "partitions",
    "modules",
    "iomem",
    "ioports",
    "interrupts",
    "pressure",
    "slabinfo",
    "buddyinfo",
    "cgroups",
    "consoles",
    "crypto",
    "devices",
    "dma",
    "dynamic_debug",
    "execdomains",
    "fb",
    "locks",
    "mdstat",
    "misc",
    "pagetypeinfo",
    "schedstat",
    "softirqs",
    "swaps",
    "timer_stats",
    "vmstat",
    "zoneinfo",
];
/// Without a pid namespace only these, and the guest's own folder, are in `/proc`.
const SHOWN_WITHOUT_PIDS: &[&str] = &["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version", "filesystems"];
/// Where the host's root stays until the code is mounted.
const HOST: &str = "/.host";

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const PRIVATE: u64 = libc::MS_PRIVATE;

/// A step that failed.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) source: io::Error,
}

/// Names the step that an error belongs to.
pub(crate) trait InStep<T> {
    fn step(self, name: &str) -> Result<T, Step>;
}

impl<T, E: Into<io::Error>> InStep<T> for Result<T, E> {
    fn step(self, name: &str) -> Result<T, Step> {
        self.map_err(|source| Step { name: name.to_owned(), source: source.into() })
    }
}

/// Builds all that does not depend on the function, and leaves the host's root at [`HOST`].
pub(super) fn build(pid_namespace: bool) -> Result<(), Step> {
    enter_new_root()?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    for dir in SYSTEM_DIRS {
        show_system_dir(Path::new(dir))?;
    }
    make_devices()?;
    for dir in ["/etc", "/proc", "/tmp", "/var", "/opt", "/run", "/home", TASK_DIR, RUNTIME_DIR] {
        fs::create_dir_all(dir).step("make the folders of the root")?;
    }
    make_configuration()?;
    rustix::mount::mount(c"tmp", c"/tmp", c"tmpfs", quiet, c"size=1m,nr_inodes=16,mode=1777").step("mount /tmp")?;
    if pid_namespace {
        mount_proc()?;
    }
    Ok(())
}

/// A root with nothing in it.
pub(crate) fn make_empty_root() -> Result<(), Step> {
    enter_new_root()?;
    rustix::mount::unmount(HOST, UnmountFlags::DETACH).step("let go of the host's files")?;
    sys::set_mount(c"/", false, READ_ONLY, PRIVATE).step("make the root read-only")
}

/// An empty root, with the host's at [`HOST`].
fn enter_new_root() -> Result<(), Step> {
    // Changes on the host still arrive (an unmounted disk must not stay busy in here), nothing goes out.
    sys::set_mount(c"/", true, 0, libc::MS_SLAVE).step("cut the mounts off from the host's")?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(c"root", c"/tmp", c"tmpfs", quiet, c"size=16m,nr_inodes=4096,mode=0755")
        .step("mount a root")?;
    rustix::process::chdir(c"/tmp").step("enter the root")?;
    fs::create_dir("/tmp/.host").step("make a place for the host")?;
    rustix::process::pivot_root(c".", c".host").step("change the root")?;
    rustix::process::chdir(c"/").step("enter the root")
}

/// Mounts what the function brings, lets go of the host and closes the root for writing.
pub(super) fn finish(work: &Work, contents: &[Vec<u8>]) -> Result<(), Step> {
    let inodes = TMP_INODES_PER_MIB * u64::from(work.ephemeral_mib);
    let size = CString::new(format!("size={}m,nr_inodes={inodes}", work.ephemeral_mib)).step("size /tmp")?;
    rustix::mount::mount_remount(c"/tmp", MountFlags::NOSUID | MountFlags::NODEV, size.as_c_str()).step("size /tmp")?;
    if let Some(code_dir) = &work.code_dir {
        bind(&on_host(code_dir), Path::new(TASK_DIR)).step("mount the code")?;
    }
    if let Some((from, to)) = &work.prefix
        && !SYSTEM_DIRS.iter().any(|dir| Path::new(to).starts_with(dir))
    {
        fs::create_dir_all(to).step("make a place for the interpreter")?;
        bind(&on_host(from), Path::new(to)).step("mount the interpreter")?;
    }
    close_settings()?;
    for ((name, _), content) in work.files.iter().zip(contents) {
        write_file(&Path::new(RUNTIME_DIR).join(name), content, 0o755).step("write the runtime's files")?;
    }
    rustix::mount::unmount(HOST, UnmountFlags::DETACH).step("let go of the host's files")?;
    fs::remove_dir(HOST).step("let go of the host's files")?;
    sys::set_mount(c"/", false, READ_ONLY, PRIVATE).step("make the root read-only")
}

/// `/proc` without a pid namespace: nothing of other processes. `guest` is the guest's process id.
pub(super) fn show_own_process(guest: i32) -> Result<(), Step> {
    for name in SHOWN_WITHOUT_PIDS {
        let target = Path::new("/proc").join(name);
        let source = on_host(&format!("/proc/{name}"));
        if source.exists() {
            write_file(&target, b"", 0o444).step("make a place in /proc")?;
            bind(&source, &target).step("show a part of /proc")?;
        }
    }
    fs::create_dir("/proc/self").step("make a place in /proc")?;
    let source = on_host(&format!("/proc/{guest}"));
    rustix::mount::mount_bind_recursive(&source, "/proc/self").step("show the guest its own process")
}

fn on_host(path: &str) -> PathBuf {
    Path::new(HOST).join(path.trim_start_matches('/'))
}

fn show_system_dir(dir: &Path) -> Result<(), Step> {
    let source = on_host(&dir.to_string_lossy());
    let Ok(metadata) = fs::symlink_metadata(&source) else { return Ok(()) };
    if metadata.is_symlink() {
        let to = fs::read_link(&source).step("read a link of the system")?;
        return symlink(to, dir).step("repeat a link of the system");
    }
    fs::create_dir_all(dir).step("make a place for the system")?;
    bind(&source, dir).step("show the system")
}

/// Shows `source` at `target`, read-only, with nothing that is mounted later on the host.
fn bind(source: &Path, target: &Path) -> io::Result<()> {
    rustix::mount::mount_bind_recursive(source, target)?;
    sys::set_mount(&CString::new(target.as_os_str().as_encoded_bytes())?, true, READ_ONLY, PRIVATE)
}

fn make_devices() -> Result<(), Step> {
    fs::create_dir("/dev").step("make /dev")?;
    for device in DEVICES {
        let target = Path::new("/dev").join(device);
        write_file(&target, b"", 0o666).step("make a device's place")?;
        rustix::mount::mount_bind(on_host(&format!("/dev/{device}")), &target).step("show a device")?;
        let path = CString::new(target.as_os_str().as_encoded_bytes()).step("name a device")?;
        sys::set_mount(&path, false, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC, PRIVATE)
            .step("limit a device")?;
    }
    for (name, to) in DEVICE_LINKS {
        symlink(to, Path::new("/dev").join(name)).step("link in /dev")?;
    }
    Ok(())
}

fn make_configuration() -> Result<(), Step> {
    let passwd = format!(
        "root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:{GUEST_UID}:{GUEST_UID}::/home/sbx_user1051:/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nsbx_user1051:x:{GUEST_UID}:\n");
    let files = [
        ("passwd", passwd.as_str()),
        ("group", group.as_str()),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("resolv.conf", "options timeout:1 attempts:1\n"),
        ("hostname", "localhost\n"),
    ];
    for (name, content) in files {
        write_file(&Path::new("/etc").join(name), content.as_bytes(), 0o644).step("write /etc")?;
    }
    for path in CONFIGURATION {
        // Links are followed on the host's side: the target may lie where the cell does not see it.
        let Ok(source) = resolve_on_host(path) else { continue };
        let Ok(metadata) = fs::metadata(&source) else { continue };
        let target = Path::new(path);
        if metadata.is_dir() {
            fs::create_dir_all(target).step("make a place in /etc")?;
        } else {
            fs::create_dir_all(target.parent().unwrap_or(Path::new("/etc"))).step("make a place in /etc")?;
            write_file(target, b"", 0o644).step("make a place in /etc")?;
        }
        bind(&source, target).step("show a part of /etc")?;
    }
    Ok(())
}

/// Follows links whose targets are absolute on the host. Each step is one link; a chain is bounded.
fn resolve_on_host(path: &str) -> io::Result<PathBuf> {
    let mut current = PathBuf::from(path);
    for _ in 0..8 {
        let shown = on_host(&current.to_string_lossy());
        if !fs::symlink_metadata(&shown)?.is_symlink() {
            return Ok(shown);
        }
        let to = fs::read_link(&shown)?;
        current = current.parent().unwrap_or(Path::new("/")).join(to);
    }
    Err(io::ErrorKind::InvalidInput.into())
}

fn mount_proc() -> Result<(), Step> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"proc", c"/proc", c"proc", quiet, None).step("mount /proc")?;
    for name in HIDDEN_IN_PROC {
        let target = Path::new("/proc").join(name);
        let Ok(metadata) = fs::symlink_metadata(&target) else { continue };
        let hidden = if metadata.is_dir() {
            rustix::mount::mount(
                c"hidden",
                &target,
                c"tmpfs",
                quiet | MountFlags::RDONLY,
                c"size=4k,nr_inodes=2,mode=0555",
            )
        } else {
            rustix::mount::mount_bind("/dev/null", &target)
        };
        hidden.step("hide a part of /proc")?;
    }
    Ok(())
}

/// Its settings are the guest's own until its limits are set, before any of its code runs.
fn close_settings() -> Result<(), Step> {
    if !Path::new("/proc/sys").is_dir() {
        return Ok(());
    }
    rustix::mount::mount_bind_recursive("/proc/sys", "/proc/sys").step("close /proc/sys")?;
    sys::set_mount(c"/proc/sys", true, READ_ONLY | libc::MOUNT_ATTR_NOEXEC, PRIVATE).step("close /proc/sys")
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))
}
