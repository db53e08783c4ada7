"""Attacks on the wall. Each runs as a function, where it must not succeed, and as a plain program, where it must.

An attack answers {"did": whether it succeeded, "how": what happened}. A plain program gets the attack's name, its arguments
as JSON, and the file for its answer.
"""

import ctypes
import errno
import json
import os
import platform
import signal
import socket
import struct
import sys
import time

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MIB = 1 << 20
NUMBERS = {
    "x86_64": {"add_key": 248, "io_uring_setup": 425, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298, "open_by_handle_at": 304, "process_vm_readv": 310},
    "aarch64": {"add_key": 217, "io_uring_setup": 425, "bpf": 280, "userfaultfd": 282, "perf_event_open": 241, "open_by_handle_at": 265, "process_vm_readv": 270},
}[platform.machine()]  # fmt: skip
libc = ctypes.CDLL(None, use_errno=True)


def did(how="done"):
    return {"did": True, "how": how}


def failed(error):
    number = error if isinstance(error, int) else error.errno
    return {"did": False, "how": errno.errorcode.get(number, str(number))}


def in_child(attack):
    """Runs an attack in a child, since it changes the process; answers what the child says."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = attack()
        except OSError as error:
            answer = failed(error)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"did": False, "how": f"ended with {status}"}


def first_success(attacks):
    """The first attack that succeeds, or what the last one says."""
    answer = None
    for attack in attacks:
        answer = in_child(attack)
        if answer["did"]:
            break
    return answer


def syscall(name, *arguments):
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *arguments)
    return did(str(result)) if result >= 0 else failed(ctypes.get_errno())


def unshare(flags):
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


# ---- too much of something


def fork_bomb(count, enough):
    """Forks until something refuses. The children do nothing but exist."""
    children = []
    reason = "done"
    try:
        for _ in range(count):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError as error:
        reason = failed(error)["how"]
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    return {"did": len(children) >= enough, "how": f"{len(children)} children, {reason}"}


def memory_bomb(mib):
    held = []
    for _ in range(mib // 16):
        block = bytearray(16 * MIB)
        for at in range(0, len(block), 4096):
            block[at] = 1
        held.append(block)
    return did(f"{len(held) * 16} MiB")


def disk_filler(folder, mib):
    path = os.path.join(folder, "filler")
    block = b"x" * MIB
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            for written in range(mib):
                file.write(block)
        return did(f"{mib} MiB")
    except OSError as error:
        return {"did": False, "how": f"{failed(error)['how']} after {written} MiB"}
    finally:
        if os.path.exists(path):
            os.unlink(path)


def infinite_loop(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return did()


def much_output(mib):
    block = (b"x" * 1023 + b"\n") * 1024
    for _ in range(mib):
        left = memoryview(block)
        while left:
            left = left[os.write(1, left) :]
    return did(f"{mib} MiB")


def large_answer(size):
    return {"did": True, "how": "x" * size}


# ---- what belongs to others


def read_file(path):
    with open(path, "rb") as file:
        content = file.read(4096)
    return {"did": bool(content), "how": f"{len(content)} bytes"}


def list_folder(path):
    names = os.listdir(path)
    return {"did": bool(names), "how": " ".join(names[:20])}


def find_text(roots, text):
    """Looks for a text in every file below some folders."""
    text = text.encode()
    seen = 0
    for root in roots:
        for folder, below, names in os.walk(root):
            below[:] = [name for name in below if os.path.join(folder, name) not in ("/proc", "/sys", "/usr", "/dev")]
            for name in names:
                path = os.path.join(folder, name)
                try:
                    if os.path.islink(path) or not os.path.isfile(path):
                        continue
                    with open(path, "rb") as file:
                        seen += 1
                        if text in file.read(16 * MIB):
                            return did(path)
                except OSError:
                    continue
    return {"did": False, "how": f"not in {seen} files"}


def find_process(word):
    """Looks for another process by a word of its command line."""
    word = word.encode()
    seen = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    seen += 1
                    if word in file.read().split(b"\0"):
                        return did(name)
            except OSError:
                continue
    return {"did": False, "how": f"not among {seen} processes"}


def send_signal(pid):
    os.kill(pid, 0)
    return did()


def connect(host, port):
    with socket.create_connection((host, port), timeout=3):
        return did()


def connect_unix(name):
    """Connects to a UNIX socket; `@` in front stands for the abstract name space."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(3)
        client.connect("\0" + name[1:] if name.startswith("@") else name)
        return did()


def listen(port, seconds):
    """Takes connections for a while, as a victim."""
    with socket.create_server(("127.0.0.1", port)) as server:
        print(f"listening on {port}", flush=True)
        server.settimeout(seconds)
        try:
            server.accept()
            return did("a connection came")
        except TimeoutError:
            return {"did": False, "how": "no connection came"}


# ---- the kernel


def ptrace(_):
    def attack():
        # PTRACE_TRACEME
        return did() if libc.ptrace(0, 0, 0, 0) == 0 else failed(ctypes.get_errno())

    return in_child(attack)


def mount(folder):
    def attempt(flags):
        def attack():
            if flags:
                unshare(flags)
                # Nothing of this may reach the rest of the machine.
                libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)
            if libc.mount(b"none", folder.encode(), b"tmpfs", 0, None) != 0:
                return failed(ctypes.get_errno())
            return did(f"flags {flags:#x}")

        return attack

    return first_success([attempt(CLONE_NEWNS), attempt(CLONE_NEWUSER | CLONE_NEWNS)])


def namespaces(_):
    def attack():
        unshare(CLONE_NEWUSER)
        return did()

    return in_child(attack)


def keyring(_):
    return in_child(lambda: syscall("add_key", b"user", b"probe", b"secret", 6, -2))


def raw_socket(_):
    def attempt(flags, family, protocol):
        def attack():
            if flags:
                unshare(flags)
            socket.socket(family, socket.SOCK_RAW, protocol).close()
            return did(f"family {family}")

        return attack

    inet, packet = (socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_PACKET, 0)
    return first_success([attempt(flags, *kind) for flags in (0, CLONE_NEWUSER | CLONE_NEWNET) for kind in (inet, packet)])


def io_uring(_):
    return in_child(lambda: syscall("io_uring_setup", 8, ctypes.create_string_buffer(120)))


def vsock(_):
    socket.socket(40, socket.SOCK_STREAM).close()
    return did()


def userfaultfd(_):
    return in_child(lambda: syscall("userfaultfd", 1))


def bpf(_):
    # BPF_MAP_CREATE of an array with one entry.
    attributes = struct.pack("<IIII", 2, 4, 4, 1).ljust(128, b"\0")
    return in_child(lambda: syscall("bpf", 0, attributes, len(attributes)))


def perf_event_open(_):
    attributes = struct.pack("<IIQ", 1, 112, 0).ljust(112, b"\0")
    return in_child(lambda: syscall("perf_event_open", attributes, 0, -1, -1, 0))


def open_by_handle_at(_):
    handle = struct.pack("<Ii", 8, 1).ljust(136, b"\0")
    answer = in_child(lambda: syscall("open_by_handle_at", -100, handle, 0))
    # The call exists, and only dislikes the made-up handle.
    return did("ESTALE") if answer["how"] in ("ESTALE", "EINVAL", "EBADF") else answer


# ---- its own rules


def write_code(folder):
    path = os.path.join(folder, "added")
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)
    return did()


def orphan(marker, ends):
    """Leaves a process behind that belongs to no one."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            os.execv("/bin/sleep", ["sleep", marker])
        os._exit(0)
    os.wait()
    if ends:
        os._exit(1)
    return did()


def close_channel(_):
    """Closes the connection to the platform (descriptor 3), then goes on as if nothing were."""
    os.fstat(3)
    os.close(3)
    return did()


def forge_answer(request_id, text):
    """Answers for another invocation on the connection to the platform: a frame of kind 4."""
    body = b"\x04" + request_id.encode() + json.dumps(text).encode()
    os.write(3, len(body).to_bytes(4, "little") + body)
    return did()


def garbage_frames(_):
    """Sends what is no frame at all."""
    os.write(3, b"\xff\xff\xff\xff" + os.urandom(64))
    return did()


def change_function(name, key):
    import sign

    body = b'{"Description":"changed by another"}'
    status, _, said = sign.call("PUT", f"/2015-03-31/functions/{name}/configuration", body, **(key or {}))
    return {"did": status == 200, "how": f"{status} {said[:300].decode(errors='replace')}"}


def run(name, arguments):
    try:
        return globals()[name](**arguments)
    except OSError as error:
        return failed(error)


def handler(event, context):
    if event["attack"] == "nothing":
        return "alive"
    return run(event["attack"], event["arguments"])


if __name__ == "__main__":
    answer = run(sys.argv[1], json.loads(sys.argv[2]))
    with open(sys.argv[3], "w") as file:
        json.dump(answer, file)
