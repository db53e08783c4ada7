//! Single hostile acts: prevented in a cell, possible outside.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use sandbox::wall::Exit;

use crate::harness::{Case, World, block_on, case, run};

/// One act. `inside` is what the probe must say; `outside_needs_root`: an ordinary user cannot do it even without a wall.
struct Act {
    name: &'static str,
    words: &'static [&'static str],
    inside: &'static str,
    outside_words: Option<&'static [&'static str]>,
    outside_needs_root: bool,
}

const fn act(name: &'static str, words: &'static [&'static str], inside: &'static str) -> Act {
    Act { name, words, inside, outside_words: None, outside_needs_root: false }
}

const fn root_act(name: &'static str, words: &'static [&'static str], inside: &'static str) -> Act {
    Act { outside_needs_root: true, ..act(name, words, inside) }
}

const fn moved_act(
    name: &'static str,
    words: &'static [&'static str],
    inside: &'static str,
    outside: &'static [&'static str],
) -> Act {
    Act { outside_words: Some(outside), ..act(name, words, inside) }
}

const ACTS: &[Act] = &[
    root_act("read_the_hosts_shadow_file", &["read", "/etc/shadow"], "open: ENOENT"),
    act("read_the_hosts_machine_configuration", &["read", "/etc/fstab"], "open: ENOENT"),
    act("read_the_hosts_system_state", &["read", "/sys/kernel/notes"], "open: ENOENT"),
    act("read_the_kernels_command_line", &["read", "/proc/cmdline"], ""),
    moved_act("write_its_own_code", &["write", "/var/task/written"], "open: EROFS", &["write", "code/written"]),
    moved_act("create_beside_its_code", &["create", "/var/task/new"], "open: EROFS", &["create", "code/new"]),
    moved_act("create_in_the_runtimes_folder", &["create", "/var/runtime/new"], "open: EROFS", &["create", "code/new"]),
    root_act("create_in_the_system", &["create", "/usr/lib/pinfold-probe"], "open: EROFS"),
    root_act("create_in_the_root", &["create", "/pinfold-probe"], "open: EROFS"),
    act("trace_a_process", &["ptrace"], "ptrace: EPERM"),
    act("read_another_process", &["read-process"], "process_vm_readv: EPERM"),
    act("mount", &["mount"], "unshare: EPERM"),
    act("make_a_namespace", &["clone-namespace"], "clone: EPERM"),
    act("open_by_handle", &["open-by-handle"], "name_to_handle_at: EPERM"),
    act("add_a_key", &["keyring"], "add_key: EPERM"),
    act("look_at_the_users_keys", &["keyctl"], "keyctl: EPERM"),
    root_act("open_a_raw_socket", &["raw-socket"], "socket: EPERM"),
    root_act("open_a_packet_socket", &["packet-socket"], "socket: EAFNOSUPPORT"),
    act("open_a_vsock", &["vsock"], "socket: EAFNOSUPPORT"),
    act("open_an_audit_socket", &["netlink-audit"], "socket: EPROTONOSUPPORT"),
    act("set_up_io_uring", &["io-uring"], "io_uring_setup: ENOSYS"),
    act("set_up_userfaultfd", &["userfaultfd"], "userfaultfd: ENOSYS"),
    root_act("make_a_bpf_map", &["bpf"], "bpf: EPERM"),
    root_act("measure_performance", &["perf"], "perf_event_open: EPERM"),
    act("change_its_personality", &["personality"], "personality: EPERM"),
    root_act("make_a_device", &["device", "/tmp/pinfold-probe-device"], "mknod: EPERM"),
    root_act("change_its_root", &["chroot"], "chroot: EPERM"),
    act("rename_the_host", &["sethostname"], "unshare: EPERM"),
    root_act("raise_its_priority", &["priority"], "setpriority: EPERM"),
    act("use_up_the_users_watches", &["watches"], "inotify_init1: EMFILE"),
    act("use_up_the_users_timers", &["timers"], "timer_create: EAGAIN"),
    root_act("become_root", &["setuid"], "setuid: EINVAL"),
];

pub(crate) fn cases() -> Vec<Case> {
    let tables = ACTS.iter().map(|act| case(format!("a_guest_cannot_{}", act.name), move |world| check(world, act)));
    tables
        .chain([
            case("a_guest_cannot_see_the_hosts_processes", sees_no_host_process),
            case("a_guest_cannot_connect_to_the_hosts_ports", connects_to_no_host_port),
            case("a_guest_cannot_connect_to_the_hosts_abstract_sockets", connects_to_no_abstract_socket),
            case("a_guest_cannot_reach_other_functions_code_or_the_data_directory", sees_no_other_code),
            case("a_guest_has_no_rights_and_no_foreign_descriptors", has_no_rights),
        ])
        .collect()
}

fn check(world: &World, act: &Act) {
    let written = world.code_dir().join("written");
    std::fs::write(&written, b"x").unwrap();
    // Every user may write it outside: only the wall can be what refuses it inside.
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o666)).unwrap();
    if world.is_root() || !act.outside_needs_root {
        let (succeeded, said) = world.outside(act.outside_words.unwrap_or(act.words));
        assert!(succeeded, "outside the act must succeed, else it proves nothing: {said}");
    }
    block_on(async {
        let outcome = run(&world.wall(), world.spec(act.words)).await;
        if act.inside.is_empty() {
            // Not an error but nothing to be read: the file is hidden behind an empty one.
            assert_eq!(outcome.exit, Exit::Code(0));
        } else {
            assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), act.inside));
        }
    });
}

/// A process of the host's that a guest might find.
struct Bystander(Child);

impl Bystander {
    fn start(marker: &str) -> Self {
        Self(Command::new("sleep").arg(marker).spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sees_no_host_process(world: &World) {
    let _bystander = Bystander::start("4242.4242");
    crate::harness::wait_until("the bystander is seen outside", || world.outside(&["find-process", "4242.4242"]).0);
    block_on(async {
        let outcome = run(&world.wall(), world.spec(&["find-process", "4242.4242"])).await;
        assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), "scan: ENOENT"));
    });
}

fn connects_to_no_host_port(world: &World) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    assert!(world.outside(&["connect", &port]).0);
    block_on(async {
        let outcome = run(&world.wall(), world.spec(&["connect", &port])).await;
        assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), "connect: ECONNREFUSED"));
    });
}

fn connects_to_no_abstract_socket(world: &World) {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("pinfold-probe-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    assert!(world.outside(&["connect-abstract", &name]).0);
    block_on(async {
        let outcome = run(&world.wall(), world.spec(&["connect-abstract", &name])).await;
        assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), "connect: ECONNREFUSED"));
    });
}

fn sees_no_other_code(world: &World) {
    let other = world.dir().join("other-function");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("secret"), b"secret").unwrap();
    let path = other.join("secret").display().to_string();
    assert!(world.outside(&["read", &path]).0);
    block_on(async {
        for path in [path, format!("/.host{}", other.display()), format!("/var/task/../..{}", other.display())] {
            let outcome = run(&world.wall(), world.spec(&["read", &path])).await;
            assert_eq!((outcome.exit, outcome.text().as_str()), (Exit::Code(1), "open: ENOENT"), "{path}");
        }
    });
}

fn has_no_rights(world: &World) {
    block_on(async {
        let mut spec = world.spec(&[]);
        spec.argv = [
            "/bin/sh",
            "-c",
            "grep -E '^(Uid|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; ls /proc/self/fd; nice; id -G",
        ]
        .map(str::to_owned)
        .to_vec();
        let outcome = run(&world.wall(), spec).await;
        let nice = if world.is_root() { 0 } else { 5 };
        let none = "0000000000000000";
        let expected = format!(
            "Uid:\t993\t993\t993\t993\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t{none}\nCapAmb:\t{none}\n\
             NoNewPrivs:\t1\nSeccomp:\t2\n0\n1\n2\n3\n4\n{nice}\n993"
        );
        // Descriptor 4 is the folder that `ls` reads.
        assert_eq!(outcome.text(), expected);
    });
}
