"""Processes with deadlines. Each has its own group, and all are ended at the end of the program."""
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

# The usual deadline in seconds. Transfers have a longer one (see Bench.patience).
DEADLINE = 60
TICK = os.sysconf("SC_CLK_TCK")
LISTENING = "0A"


class Failed(Exception):
    """A measurement failed; the text is the reason."""


class Process:
    """A running program. Its output goes to a file."""

    def __init__(self, command, log, **more):
        self.command, self.log = [str(part) for part in command], log
        # Our pipes are between programs only, so nothing here has to read them.
        with open(log, "ab") as err:
            self.popen = subprocess.Popen(self.command, stderr=err, start_new_session=True, **more)
        self.pid, self.code, self.cpu, self.before = self.popen.pid, None, None, 0.0
        self.said = None

    def __str__(self):
        return os.path.basename(self.command[0])

    def words(self):
        """The last lines of its output."""
        text = Path(self.log).read_text(errors="replace").strip()
        return " | ".join(text.splitlines()[-4:])

    def poll(self):
        """Reaps the process if it has ended, and stores its processor time."""
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code, self.cpu = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
                self.popen.returncode = self.code
        return self.code

    def wait(self, seconds=DEADLINE):
        """Waits for the end of the process. It must succeed."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            select.select([descriptor], [], [], seconds)
            os.close(descriptor)
        if self.poll() is None:
            raise Failed(f"{self} has not ended after {seconds:g} s")
        if self.code != 0:
            raise Failed(f"{self} ended with {self.code}: {self.words()}")

    def spent(self):
        """Processor time of the process and its descendants, without its start."""
        total = self.cpu if self.poll() is not None else cpu_seconds(self.pid)
        return total - self.before

    def answer(self):
        """The JSON on the last line of its output file."""
        lines = Path(self.said).read_text().splitlines()
        try:
            return json.loads(lines[-1])
        except (IndexError, ValueError):
            raise Failed(f"{self} gave no answer: {self.words()}") from None

    def kill(self):
        """Ends the process and its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(Failed):
            until(lambda: self.poll() is not None, "", 10)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


class Programs:
    """Starts processes, and ends the remaining ones."""

    def __init__(self, folder):
        self.folder, self.running, self.count = folder, [], 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The newest first, so that a server can still log the end of its client.
        for process in reversed(self.running):
            strays = descendants(process.pid)
            process.kill()
            for pid in strays:
                # The sessions of sshd have their own groups, but they are our descendants.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        self.running.clear()

    def start(self, command, *, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **more):
        """Starts a program. `stdout="file"` stores its output for `answer`."""
        self.count += 1
        name = f"{self.count}.{os.path.basename(str(command[0]))}"
        said = self.folder / f"{name}.out" if stdout == "file" else None
        with open(said, "wb") if said else contextlib.nullcontext(stdout) as out:
            process = Process(command, self.folder / f"{name}.log", stdin=stdin, stdout=out, **more)
        process.said = said
        self.running.append(process)
        return process

    def serve(self, command, port, **more):
        """Starts a server and waits until it listens."""
        # Some servers end or loop when their standard input ends.
        more.setdefault("stdin", subprocess.PIPE)
        process = self.start(command, **more)

        def is_ready():
            if process.poll() is not None:
                raise Failed(f"{process} ended with {process.code}: {process.words()}")
            return port in listening()

        until(is_ready, f"{process} does not listen", 20)
        process.before = cpu_seconds(process.pid)
        return process

    def ask(self, command, seconds=DEADLINE, **more):
        """Runs a program to its end and returns its answer."""
        process = self.start(command, stdout="file", **more)
        process.wait(seconds)
        return process.answer()


def until(is_so, what, seconds=DEADLINE):
    """Polls until a condition is true."""
    end = time.monotonic() + seconds
    pause = 0.001
    while not is_so():
        if time.monotonic() > end:
            raise Failed(f"{what} after {seconds:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def free_port():
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def listening():
    """The ports with a listener, without connecting: a server may serve only one connection."""
    ports = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(name) as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[3] == LISTENING:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def stat(pid):
    """The fields of /proc/PID/stat after the name, or nothing if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def descendants(pid):
    """All descendants of a process."""
    children = {}
    for entry in os.listdir("/proc"):
        fields = stat(entry) if entry.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found


def cpu_seconds(pid):
    """Processor time of a process and its descendants, also of those that have ended."""
    total = 0
    for one in [pid, *descendants(pid)]:
        fields = stat(one)
        if fields:
            total += sum(int(field) for field in fields[11:15])
    return total / TICK


def resident_kib(pid):
    """Resident memory of a process and its descendants."""
    total = 0
    for one in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total
