"""Processes with deadlines: each is the head of a group, and none outlives the program."""
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

# Whatever takes longer than this hangs; transfers get more (see Bench.patience).
DEADLINE = 60
TICK = os.sysconf("SC_CLK_TCK")
LISTENING = "0A"


class Failed(Exception):
    """A measurement that could not be made, and why."""


class Process:
    """A running program; what it says goes to a file."""

    def __init__(self, command, log, **more):
        self.command, self.log = [str(part) for part in command], log
        # Pipes of ours are between programs only, so nobody has to read along.
        with open(log, "ab") as err:
            self.popen = subprocess.Popen(self.command, stderr=err, start_new_session=True, **more)
        self.pid, self.code, self.cpu, self.before = self.popen.pid, None, None, 0.0
        self.said = None

    def __str__(self):
        return os.path.basename(self.command[0])

    def words(self):
        """The last lines that it said."""
        text = Path(self.log).read_text(errors="replace").strip()
        return " | ".join(text.splitlines()[-4:])

    def poll(self):
        """Reaps the process if it has ended; notes its processor time."""
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code, self.cpu = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
                self.popen.returncode = self.code
        return self.code

    def wait(self, seconds=DEADLINE):
        """Waits for the end, which has to be a good one."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            select.select([descriptor], [], [], seconds)
            os.close(descriptor)
        if self.poll() is None:
            raise Failed(f"{self} has not ended after {seconds:g} s")
        if self.code != 0:
            raise Failed(f"{self} ended with {self.code}: {self.words()}")

    def spent(self):
        """Processor time of the process and all below it, without what it took to get ready."""
        total = self.cpu if self.poll() is not None else cpu_seconds(self.pid)
        return total - self.before

    def answer(self):
        """The JSON on the last line of its output, which went to a file."""
        lines = Path(self.said).read_text().splitlines()
        try:
            return json.loads(lines[-1])
        except (IndexError, ValueError):
            raise Failed(f"{self} gave no answer: {self.words()}") from None

    def kill(self):
        """Ends the process and whatever it started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(Failed):
            until(lambda: self.poll() is not None, "", 10)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


class Programs:
    """Starts processes and ends those that are left."""

    def __init__(self, folder):
        self.folder, self.running, self.count = folder, [], 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The youngest first: a server that loses its client may still want to log.
        for process in reversed(self.running):
            strays = descendants(process.pid)
            process.kill()
            for pid in strays:
                # sshd puts what it serves into groups of their own; these are children of ours all the same.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        self.running.clear()

    def start(self, command, *, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **more):
        """Starts a program; with `stdout="file"` its answer can be read."""
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
        # Some servers end or spin when their standard input does.
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
    """Waits for something that no call can wait for."""
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
    """The ports that somebody listens on: looking does not use up a server of a single connection."""
    ports = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(name) as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[3] == LISTENING:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def stat(pid):
    """The fields of /proc/PID/stat behind the name, or nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def descendants(pid):
    """Children, their children, and so on."""
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
    """Processor time of a process and all below it, those that have ended included."""
    total = 0
    for one in [pid, *descendants(pid)]:
        fields = stat(one)
        if fields:
            total += sum(int(field) for field in fields[11:15])
    return total / TICK


def resident_kib(pid):
    """Resident memory of a process and all below it."""
    total = 0
    for one in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total
