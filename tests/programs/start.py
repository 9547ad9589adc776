"""Starts programs for the cases, waits for them with deadlines, and ends them."""
import contextlib
import ctypes
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"
# The permit of most cases: every port of this machine.
ANY_PORT = "forward:127.0.0.0/8:*,forward:[::1]:*,remote-forward:127.0.0.0/8:*"
# How long a program may take to start or to end, in seconds.
PATIENCE = 15
# Programs of Debian that are not in PATH of everybody.
FOLDERS = ["/usr/sbin", "/sbin", *sorted(map(str, Path("/").glob("usr/lib/postgresql/*/bin")), reverse=True)]


class Failed(Exception):
    """A case has failed; the text says why."""


class Case:
    """A function that tests something. `needs` are the programs without which it cannot run."""

    def __init__(self, function, needs, seconds, long_seconds):
        self.function, self.needs = function, needs
        self.name = function.__name__
        self.seconds, self.long_seconds = seconds, long_seconds


CASES = []


def case(*needs, seconds=60, long_seconds=600):
    """Adds a function to the list of cases. It may take so many seconds, or `long_seconds` in a long run."""
    def add(function):
        CASES.append(Case(function, needs, seconds, long_seconds))
        return function
    return add


def check(condition, why):
    if not condition:
        raise Failed(why)


def find(program):
    """The path of a program, or None."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *FOLDERS]))


def until(what, condition, seconds=PATIENCE):
    """Waits until the condition is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.01)
    return value


def free_port():
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]


def is_open(port):
    with socket.socket() as connection:
        connection.settimeout(PATIENCE)
        return connection.connect_ex((LOOPBACK, port)) == 0


def memory(pid):
    """The resident memory of a process, in bytes."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def descriptors(pid):
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def prepare_this_process():
    """Lets this program own all processes that it starts, also those whose parent has ended."""
    set_child_subreaper = 36  # prctl(2)
    if ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def children():
    """The ids of all children of this process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name of a process may have blanks and brackets.
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[1]) == os.getpid():
                    found.append(int(entry.name))
    return found


class Program:
    """A process in a group of its own. Its output is in files."""

    def __init__(self, name, command, folder, **options):
        self.name = name
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("cwd", folder)
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err,
                                            start_new_session=True, **options)
        self.pid = self.process.pid
        # Whether the case has ended it, or expects it to end.
        self.may_end = False

    def has_ended(self):
        return self.process.poll() is not None

    def lines(self, pattern):
        """What a pattern matches in standard output, in order."""
        return re.findall(pattern, self.out.read_text(errors="replace"), re.MULTILINE)

    def wait_for_lines(self, pattern, count=1, seconds=PATIENCE):
        """Waits for so many lines on standard output, and returns what the pattern matches."""
        def found():
            if len(self.lines(pattern)) >= count:
                return True
            check(not self.has_ended(), f"{self.name} has ended with {self.process.returncode}: {self.tail()}")
            return False
        until(f"{self.name} prints {pattern!r}", found, seconds)
        return self.lines(pattern)

    def wait(self, seconds=PATIENCE):
        """Waits for the end, and returns the exit code."""
        self.may_end = True
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} has not ended within {seconds} s") from None

    def kill(self, number=signal.SIGKILL):
        """Sends a signal to the process and its group."""
        self.may_end = True
        if not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def end(self, number=signal.SIGTERM, seconds=PATIENCE):
        """Ends the process: first politely, then by SIGKILL."""
        self.kill(number)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()

    def tail(self):
        return " | ".join(self.err.read_text(errors="replace").splitlines()[-3:])


class Finished:
    """What a command has printed, and its exit code (or minus the signal)."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def text(self):
        return self.out.decode(errors="replace")

    def errors(self):
        return self.err.decode(errors="replace")


class Bench:
    """What a case has: a folder, and programs that end with the case."""

    def __init__(self, folder, vpn, is_long, shared=None):
        self.folder, self.vpn, self.is_long = folder, vpn, is_long
        # The bench of the whole run: what several cases use.
        self.shared = shared or self
        self.programs = []
        self.closing = contextlib.ExitStack()
        self.made = {}
        self.keys = folder / "keys" if shared is None else shared.keys
        # Programs must not read the user's files.
        self.environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "LC_ALL": "C",
                            "GIT_CONFIG_NOSYSTEM": "1"}

    def short_or_long(self, short, long):
        return long if self.is_long else short

    def once(self, make):
        """What `make` returns for the whole run. It is made when a case first needs it."""
        shared = self.shared
        if make not in shared.made:
            shared.made[make] = make(shared)
        return shared.made[make]

    def start(self, name, command, **options):
        """Starts a program in the background."""
        options.setdefault("env", self.environment)
        program = Program(f"{name}{len(self.programs)}", command, self.folder, **options)
        self.programs.append(program)
        return program

    def service(self, name, command, signal_to_end=signal.SIGTERM, **options):
        """Starts a program that listens on a port; `command` is a function of the port. Returns the port."""
        for _ in range(3):
            port = free_port()
            program = self.start(name, command(port), **options)
            until(f"{name} listens", lambda: is_open(port) or program.has_ended(), 30)
            if not program.has_ended():
                self.closing.callback(program.end, signal_to_end)
                return port
            program.may_end = True
        raise Failed(f"{name} does not start: {program.tail()} {program.out.read_text(errors='replace')[-300:]}")

    def run(self, *command, input=b"", seconds=30, code=0, **options):
        """Runs a command to its end. `input` is bytes or a file. `code` is the exit code it must have, or None for any."""
        name = os.path.basename(str(command[0]))
        is_file = not isinstance(input, bytes)
        options.setdefault("cwd", self.folder)
        options.setdefault("env", self.environment)
        options.setdefault("stdout", subprocess.PIPE)
        process = subprocess.Popen(list(map(str, command)), stdin=input if is_file else subprocess.PIPE,
                                   stderr=subprocess.PIPE, start_new_session=True, **options)
        try:
            out, err = process.communicate(None if is_file else input, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} has not ended within {seconds} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        finished = Finished(process.returncode, out or b"", err)
        if code is not None and finished.code != code:
            last = " | ".join((finished.errors() or finished.text()).splitlines()[-3:])
            raise Failed(f"{name} ended with {finished.code} instead of {code}: {last}")
        return finished

    # The program under test.

    def server(self, permit=ANY_PORT, config="", port=0):
        """Starts a server; `config` is added to the built-in configuration. Returns it with its `port`."""
        number = len(self.programs)
        clients = self.folder / f"clients{number}"
        clients.write_text(f'permit="{permit}" {(self.keys / "client.pub").read_text()}')
        clients.chmod(0o600)
        command = [self.vpn, "server", "--host", LOOPBACK, "--port", port, "--identity", self.keys / "server",
                   "--authorized-clients", clients]
        if config:
            path = self.folder / f"server{number}.toml"
            path.write_text(self.run(self.vpn, "suites", "--show-config").text() + config)
            path.chmod(0o600)
            command += ["--config", path]
        server = self.start("server", command)
        server.port = int(server.wait_for_lines(r"^Listening on .*:(\d+)$")[0])
        return server

    def client_command(self, server, *options):
        """The command line of a client of this server, or of the port of one."""
        port = getattr(server, "port", server)
        fingerprint = (self.keys / "fingerprint").read_text()
        return [str(part) for part in (self.vpn, "client", "--host", LOOPBACK, "--port", port, "--identity",
                                       self.keys / "client", "--server-key", fingerprint, *options)]

    def client(self, server, *options):
        """Starts a client, and waits until all its forwards listen. `ports` are those of -L and -D, in this order;
        `remote_ports` are those of -R."""
        client = self.start("client", self.client_command(server, *options))
        local = sum(option in ("-L", "-D") for option in options)
        remote = sum(option == "-R" for option in options)
        at = client.wait_for_lines(r"^Listening at (\S+) (?:for|as) ", local)
        client.ports = [int(place.rpartition(":")[2]) if ":" in place else None for place in at]
        there = client.wait_for_lines(r"^The server listens at (?:[^/\s]\S*:(\d+)|/\S+) for ", remote)
        client.remote_ports = [int(port) if port else None for port in there]
        return client

    def forward(self, target):
        """A server and a client that forwards a port to a target, a port or HOST:PORT. Returns both and the port."""
        target = target if isinstance(target, str) else f"{LOOPBACK}:{target}"
        server = self.server()
        client = self.client(server, "-L", f"{LOOPBACK}:0:{target}")
        return server, client, client.ports[0]

    def check_programs(self):
        """Fails if the program under test has ended by itself, or has panicked."""
        for program in self.programs:
            if program.name.startswith(("server", "client")):
                check("panicked" not in program.err.read_text(errors="replace"), f"{program.name} panicked: {program.tail()}")
                check(program.may_end or not program.has_ended(),
                      f"{program.name} has ended with {program.process.returncode}: {program.tail()}")

    def close(self):
        """Ends all programs of the case, and what they have left behind."""
        self.closing.close()
        for program in reversed(self.programs):
            program.end(signal.SIGKILL)
        ours = {program.pid for program in self.shared.programs if not program.has_ended()}
        deadline = time.monotonic() + PATIENCE
        while (left := set(children()) - ours) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.01)


@contextlib.contextmanager
def whole_run(vpn, is_long):
    """The bench of the whole run, with keys for both sides."""
    with tempfile.TemporaryDirectory(prefix="vpn-programs-") as name:
        folder = Path(name)
        # Servers run as other users and have folders below this one.
        folder.chmod(0o711)
        bench = Bench(folder, vpn, is_long)
        bench.keys.mkdir(mode=0o700)
        for side in ("server", "client"):
            bench.run(vpn, "keygen", "--out", bench.keys / side)
        printed = bench.run(vpn, "fingerprint", bench.keys / "server.pub").text()
        (bench.keys / "fingerprint").write_text(printed.split()[0])
        try:
            yield bench
        finally:
            bench.close()


@contextlib.contextmanager
def one_case(shared, name):
    """The bench of one case."""
    folder = shared.folder / name
    folder.mkdir(mode=0o711)
    bench = Bench(folder, shared.vpn, shared.is_long, shared)
    try:
        yield bench
        bench.check_programs()
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)
