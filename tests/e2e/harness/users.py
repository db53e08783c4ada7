"""The users that a platform may run as: whoever runs the tests, and as root also an ordinary one."""

import os
import shutil
import subprocess

# No one's number on a Debian machine; it needs no entry in any file.
ORDINARY_ID = 28765


class User:
    """Who a process runs as. `uid` is None for whoever runs the tests."""

    def __init__(self, name, uid=None):
        self.name = name
        self.uid = uid

    @property
    def is_root(self):
        return (os.geteuid() if self.uid is None else self.uid) == 0

    def command(self, words):
        """The command line that runs `words` as this user, for no longer than the tests run."""
        switch = [shutil.which("setpriv"), "--pdeathsig", "KILL"]
        if self.uid is not None:
            number = str(self.uid)
            switch += ["--reuid", number, "--regid", number, "--clear-groups"]
        return switch + list(words)

    def own(self, path):
        """Gives a file or folder to this user."""
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)

    def run(self, words, **options):
        """Runs a command to its end as this user."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.command(words), **options)


ME = User("root" if os.geteuid() == 0 else "user")
ORDINARY = User("user", ORDINARY_ID)
