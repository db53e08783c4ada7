"""Looks at processes through /proc."""

import os


def stat(pid):
    """The fields of /proc/PID/stat after the name, or None for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()


def is_alive(pid):
    """Whether a process can still run an instruction: it exists and is no zombie."""
    fields = stat(pid)
    return fields is not None and fields[0] not in (b"Z", b"X")


# include/linux/sched.h: on its way out, past its last instruction of its own.
PF_EXITING = 0x4
SIGKILL_BIT = 1 << 8


def can_run(pid):
    """Whether a process may still run an instruction of its own: not ended, not ending, no SIGKILL on its way."""
    fields = stat(pid)
    if fields is None or fields[0] in (b"Z", b"X") or int(fields[6]) & PF_EXITING:
        return False
    try:
        with open(f"/proc/{pid}/status") as file:
            pending = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd:", "ShdPnd:"))]
    except OSError:
        return False
    return not any(mask & SIGKILL_BIT for mask in pending)


def ticks(pid):
    """Clock ticks of processor time that a process has used; None if it is gone."""
    fields = stat(pid)
    return None if fields is None else int(fields[11]) + int(fields[12])


def parents():
    """The parent of every process."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat(name)
            if fields is not None:
                table[int(name)] = int(fields[1])
    return table


def descendants(pid):
    """All processes below `pid`, without itself."""
    table = parents()
    found = []
    below = {pid}
    while below:
        below = {child for child, parent in table.items() if parent in below}
        found.extend(below)
    return found


def command_line(pid):
    """The words of a process's command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def with_word(word):
    """Processes on the whole machine that have `word` in their command line, without this one."""
    found = []
    for pid in parents():
        if pid != os.getpid() and is_alive(pid) and any(word in part for part in command_line(pid)):
            found.append(pid)
    return found


def resident_bytes(pid):
    """Memory of a process that is in RAM and its own or shared (VmRSS)."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0
