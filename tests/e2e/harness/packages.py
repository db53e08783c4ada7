"""Makes code packages: honest ones from folders and texts, hostile ones from raw zip entries."""

import io
import os
import struct
import zipfile
from pathlib import Path

FUNCTIONS = Path(__file__).parent.parent / "functions"


def zip_of(files, compress=True):
    """A zip file of {name: text, bytes, or (content, mode)}."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            content, mode = content if isinstance(content, tuple) else (content, 0o100644)
            entry = zipfile.ZipInfo(name, date_time=(2024, 1, 1, 0, 0, 0))
            entry.external_attr = (mode & 0xFFFF) << 16
            entry.compress_type = method
            archive.writestr(entry, content)
    return buffer.getvalue()


def zip_of_folder(folder):
    """A zip file of the files of a folder."""
    folder = Path(folder)
    return zip_of({str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()})


def python(source, name="app"):
    """A package with one Python module."""
    return zip_of({f"{name}.py": source})


def node(source, name="index.js"):
    """A package with one JavaScript file."""
    return zip_of({name: source})


def bootstrap(content):
    """A package with an executable `bootstrap`."""
    return zip_of({"bootstrap": (content, 0o100755)})


def rust_bootstrap():
    """The package of the function that is built with the official runtime crate."""
    return bootstrap(Path(os.environ["E2E_BOOTSTRAP_RUST"]).read_bytes())


def elf(machine, file_type=3):
    """The head of an ELF file, 64 bits, for a processor (62 x86-64, 183 arm64), padded to a page."""
    head = struct.pack("<4sBBBBB7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, file_type, machine, 1, 0, 64, 0, 0, 64, 56, 0, 64, 0, 0)
    return head.ljust(4096, b"\0")
