"""Hostile and hopeless packages: refused by name, nothing written outside, nothing left, and the platform answers on."""

import io
import os
import re
import stat
import struct
import zipfile
import zlib

import botocore
import pytest
from harness import packages, processes, wait
from harness.lambdas import ROLE, call, create, fresh, invoke

GOOD = packages.python("def handler(event, context):\n    return 'alive'\n")
HANDLER = "def handler(event, context):\n    return 'alive'\n"
MIB = 1 << 20


def outcome(lam, code, runtime="python3.12", handler="app.handler", **more):
    """What becomes of a package: ('refused', code, message), ('failed', code, reason), or ('active', name, None)."""
    name = fresh("pack")
    try:
        lam.create_function(FunctionName=name, Runtime=runtime, Handler=handler, Role=ROLE, Code={"ZipFile": code}, **more)
    except botocore.exceptions.ClientError as error:
        return "refused", error.response["Error"]["Code"], error.response["Error"]["Message"]

    def settled():
        found = lam.get_function_configuration(FunctionName=name)
        return found if found["State"] != "Pending" else None

    found = wait.until(settled, "the function is settled", 60)
    if found["State"] == "Failed":
        return "failed", found["StateReasonCode"], found["StateReason"]
    return "active", name, None


def raw_zip(entries):
    """A zip file of (name bytes, content, external attributes, claimed size or None), as no honest program writes it."""
    out = io.BytesIO()
    directory = io.BytesIO()
    squeezed = {}
    for name, content, attributes, claimed in entries:
        if id(content) not in squeezed:
            squeezer = zlib.compressobj(6, zlib.DEFLATED, -15)
            squeezed[id(content)] = squeezer.compress(content) + squeezer.flush(), zlib.crc32(content)
        data, checksum = squeezed[id(content)]
        size = len(content) if claimed is None else claimed
        offset = out.tell()
        out.write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0x21, checksum, len(data), size, len(name), 0) + name + data)
        directory.write(
            struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 0x031E, 20, 0, 8, 0, 0x21, checksum, len(data), size, len(name), 0, 0, 0, 0, attributes, offset)
            + name
        )
    start = out.tell()
    out.write(directory.getvalue())
    out.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(entries), len(entries), directory.tell(), start, 0))
    return out.getvalue()


def with_entry(name, content=b"x", mode=stat.S_IFREG | 0o644, claimed=None):
    """A good package with one entry more."""
    return raw_zip([(b"app.py", HANDLER.encode(), (stat.S_IFREG | 0o644) << 16, None), (name, content, mode << 16, claimed)])


def bomb(mib):
    """A package that unpacks to so many MiB."""
    return with_entry(b"zeros.bin", bytes(mib * MIB))


def many_bombs(mib, count):
    zeros = bytes(mib * MIB)
    entries = [(b"app.py", HANDLER.encode(), 0o644 << 16, None)]
    return raw_zip(entries + [(b"zeros%d.bin" % n, zeros, (stat.S_IFREG | 0o644) << 16, None) for n in range(count)])


def many_entries():
    """As many honest empty files as fit into what may be uploaded."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("app.py", HANDLER)
        for n in range(400_000):
            archive.writestr(zipfile.ZipInfo(str(n)), b"")
    return buffer.getvalue()


def million_entries():
    """A million names for one empty file: only so do they fit into what may be uploaded."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    count = 1_000_000
    head = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 0x21, 0, 0, 0, 4, 0) + b"0000"
    entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 0x031E, 20, 0, 0, 0, 0x21, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0)
    names = (f"{digits[n // 46656]}{digits[n // 1296 % 36]}{digits[n // 36 % 36]}{digits[n % 36]}" for n in range(count))
    directory = b"".join(entry + name.encode() for name in names)
    end = len(head) + len(directory)
    wide = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, len(directory), len(head))
    locator = struct.pack("<IIQI", 0x07064B50, 0, end, 1)
    last = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return head + directory + wide + locator + last


def overlapping():
    """Many names for the same compressed bytes."""
    content = bytes(30 * MIB)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = squeezer.compress(content) + squeezer.flush()
    checksum = zlib.crc32(content)
    out = io.BytesIO()
    out.write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0x21, checksum, len(data), len(content), 1, 0) + b"0" + data)
    start = out.tell()
    names = [str(n).encode() for n in range(500)]
    for name in names:
        out.write(
            struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 0x031E, 20, 0, 8, 0, 0x21, checksum, len(data), len(content), len(name), 0, 0, 0, 0, 0, 0)
            + name
        )
    end = out.tell()
    out.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(names), len(names), end - start, start, 0))
    return out.getvalue()


def naive_unpack(code, folder):
    """Unpacks as a careless program would: what a hostile package does outside."""
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            target = folder + "/" + entry.filename if not entry.filename.startswith("/") else entry.filename
            if stat.S_ISLNK(mode):
                os.symlink(archive.read(entry), target)
            else:
                with open(target, "wb") as file:
                    file.write(archive.read(entry))


TOO_LARGE = "[Uu]nzipped|262144000|250 ?M|too (large|big|many)|larger|more than"
# (what, package, what the message must say)
REFUSED = [
    ("a bomb of 300 MiB", lambda: bomb(300), TOO_LARGE),
    ("a bomb of 3 GiB", lambda: many_bombs(100, 30), TOO_LARGE),
    ("a bomb that claims to be small", lambda: with_entry(b"zeros.bin", bytes(300 * MIB), claimed=10), TOO_LARGE + "|[Zz]ip|corrupt|damaged|size"),
    ("overlapping entries", overlapping, TOO_LARGE + "|[Zz]ip|overlap|entr"),
    ("a path upwards", lambda: with_entry(b"../escaped"), "escaped|path|outside|name"),
    ("a path upwards in the middle", lambda: with_entry(b"a/../../escaped"), "escaped|path|outside|name"),
    ("an absolute path", lambda: with_entry(b"/tmp/pinfold-e2e-escaped"), "escaped|path|absolute|outside|name"),
    ("a name with a null byte", lambda: with_entry(b"a\0b"), "name|path|entry|[Zz]ip"),
    ("a device", lambda: with_entry(b"device", b"", stat.S_IFBLK | 0o666), "device|kind|type|entry"),
    ("a character device", lambda: with_entry(b"device", b"", stat.S_IFCHR | 0o666), "device|kind|type|entry"),
    ("a pipe", lambda: with_entry(b"pipe", b"", stat.S_IFIFO | 0o666), "pipe|kind|type|entry|device"),
    ("a link out", lambda: with_entry(b"link", b"/etc/shadow", stat.S_IFLNK | 0o777), "link"),
    ("a link upwards", lambda: with_entry(b"link", b"../../../../etc/shadow", stat.S_IFLNK | 0o777), "link"),
    ("many entries", many_entries, "entr|files|many"),
    ("a million entries", million_entries, "entr|files|many|[Zz]ip"),
    ("a cut file", lambda: GOOD[: len(GOOD) // 2], "[Zz]ip"),
    ("a damaged entry", lambda: GOOD[:45] + b"\xff\xff\xff" + GOOD[48:], "[Zz]ip|damaged|corrupt|entry"),
]


@pytest.mark.parametrize("what, make, message", REFUSED, ids=[row[0].replace(" ", "_") for row in REFUSED])
def test_a_hostile_package_is_refused(platform, lam, tmp_path, what, make, message):
    kind, code, said = outcome(lam, make())
    assert kind in ("refused", "failed"), (kind, code)
    if kind == "refused":
        assert code == "InvalidParameterValueException", (code, said)
    assert re.search(message, said), said
    for place in ("/tmp/pinfold-e2e-escaped", platform.home.data_dir / "escaped", platform.home.data_dir.parent / "escaped"):
        assert not os.path.lexists(place), "nothing was written outside"
    assert call(lam, create(lam, code=GOOD)) == "alive"


ESCAPES = [
    ("a path upwards", lambda: with_entry(b"../escaped"), "../escaped"),
    ("a link out", lambda: with_entry(b"link", b"/etc/hostname", stat.S_IFLNK | 0o777), "link"),
]


@pytest.mark.parametrize("what, make, place", ESCAPES, ids=[row[0].replace(" ", "_") for row in ESCAPES])
def test_a_careless_program_would_have_been_harmed(tmp_path, what, make, place):
    inner = tmp_path / "inner"
    inner.mkdir()
    naive_unpack(make(), str(inner))
    found = inner / place
    assert found.exists()
    assert not str(found.resolve()).startswith(str(inner) + "/"), "it leads out of the folder"


def test_devices_bombs_and_crowds_are_what_they_claim():
    crowd = million_entries()
    assert crowd.count(b"PK\x01\x02") == 1_000_000
    assert len(crowd) < 52_428_800, "it may be uploaded"
    with zipfile.ZipFile(io.BytesIO(with_entry(b"device", b"", stat.S_IFBLK | 0o666))) as archive:
        assert stat.S_ISBLK(archive.infolist()[1].external_attr >> 16)
    code = bomb(300)
    assert len(code) < MIB
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        assert len(archive.read("zeros.bin")) == 300 * MIB


def test_a_package_of_nearly_250_mb_is_taken(lam):
    assert call(lam, create(lam, code=bomb(240))) == "alive"


def test_a_link_inside_the_package_works(lam):
    code = raw_zip(
        [
            (b"app.py", b"def handler(event, context):\n    return open('/var/task/link').read()\n", 0o100644 << 16, None),
            (b"real.txt", b"behind the link", 0o100644 << 16, None),
            (b"link", b"real.txt", (stat.S_IFLNK | 0o777) << 16, None),
        ]
    )
    kind, name, said = outcome(lam, code)
    if kind != "active":
        assert "link" in said, "or it is refused by name"
        return
    assert call(lam, name) == "behind the link"


HOPELESS = [
    ("a native module of another CPython", {"app.py": HANDLER, "fast.cpython-39-x86_64-linux-gnu.so": packages.elf(62)}, "python3.12", "app.handler", "fast.cpython-39"),
    ("a native module for another processor", {"app.py": HANDLER, "fast.abi3.so": packages.elf(183)}, "python3.12", "app.handler", "fast.abi3.so"),
    ("an add-on for another processor", {"index.js": "exports.handler = async () => 1", "fast.node": packages.elf(183)}, "nodejs20.x", "index.handler", "fast.node"),
    ("a bootstrap for another processor", {"bootstrap": (packages.elf(183, 2), 0o100755)}, "provided.al2023", "x", "arm64|aarch64"),
]  # fmt: skip


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the packages are made for x86-64 and its stranger arm64")
@pytest.mark.parametrize("what, files, runtime, handler, message", HOPELESS, ids=[row[0].replace(" ", "_") for row in HOPELESS])
def test_what_cannot_work_is_refused_by_name(lam, what, files, runtime, handler, message):
    kind, code, said = outcome(lam, packages.zip_of(files), runtime, handler)
    assert (kind, code) == ("refused", "InvalidParameterValueException"), (kind, code, said)
    assert re.search(message, said), said


def test_a_package_without_a_bootstrap_is_said_at_its_start(lam):
    """Lambda finds this only when the function starts: the bootstrap might come from a layer."""
    kind, name, said = outcome(lam, packages.zip_of({"app.py": HANDLER}), "provided.al2023", "x")
    if kind != "active":
        assert "bootstrap" in said
        return
    answer = invoke(lam, name, {})
    assert answer.error == "Unhandled", answer
    assert answer.payload["errorType"] == "Runtime.InvalidEntrypoint", answer
    assert "bootstrap" in answer.payload["errorMessage"], answer
    said = f"RequestId: {answer.request_id} Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
    assert f"{said}\nRuntime.InvalidEntrypoint\nEND " in answer.log, answer


def test_refused_packages_leave_nothing_behind(platform, lam):
    def entries():
        return sum(len(files) + len(folders) for _, folders, files in os.walk(platform.home.data_dir))

    call(lam, create(lam, code=GOOD))
    before = entries()
    for _ in range(5):
        outcome(lam, with_entry(b"many/../../escaped"))
        outcome(lam, GOOD[: len(GOOD) // 2])
    wait.until(lambda: entries() <= before + 2, "the data directory is as it was", 20)
    below = [processes.command_line(pid) for pid in processes.descendants(platform.process.pid)]
    assert not [words for words in below if "__unpack" in words]
