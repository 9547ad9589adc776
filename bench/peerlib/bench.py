"""Shared by all benchmarks: options, a folder, keys, and turns."""
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import results
from .procs import Failed, Programs, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
# Debian packages of the programs that may be missing.
PACKAGES = {"stunnel": "stunnel4", "sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client",
            "socat": "socat", "spiped": "spiped", "openssl": "openssl"}
# The suite of all peers.
AES256 = '[[supported_cipher]]\nname = "AES"\nkeys = [256]\n'


class Missing(Exception):
    """A program is missing."""


def find(program):
    """The path of a program of a Debian package, also in the folders for administrators."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not path:
        raise Missing(f"{program} is missing: apt-get install {PACKAGES[program]}")
    return path


class Bench:
    """One run of one benchmark."""

    def __init__(self, options):
        self.options = options
        # The load of the machine. A high load makes the results useless.
        self.busy_before = round(os.getloadavg()[0], 1)
        # Folders outside ours that did not exist before.
        self.made = []
        self.vpn, self.load = Path(options.vpn).resolve(), Path(options.load).resolve()

    @contextlib.contextmanager
    def opened(self):
        """Makes a folder for all files. It is removed at the end of the benchmark."""
        # Thousands of sessions need as many descriptors, in every program that we start.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            self.folder = Path(folder)
            self.make_keys()
            try:
                yield self
            finally:
                for path in self.made:
                    with contextlib.suppress(OSError):
                        path.rmdir()

    def make_keys(self):
        for name in ("server", "client"):
            run([self.vpn, "keygen", "--out", self.folder / name, "--comment", name])
        public = (self.folder / "client.pub").read_text()
        for service in ("message", "pipe"):
            (self.folder / f"authorized_{service}").write_text(f'permit="{service}" max-sessions=6000 {public}')
            (self.folder / f"authorized_{service}").chmod(0o600)
        (self.folder / "authorized_forward").write_text(f'permit="forward:127.0.0.1:*" max-sessions=6000 {public}')
        (self.folder / "authorized_forward").chmod(0o600)
        self.fingerprint = run([self.vpn, "fingerprint", self.folder / "server.pub"]).split()[0]
        # Idle sessions send nothing, and the messages of many sessions take time.
        (self.folder / "vpn.toml").write_text(f"{AES256}[limits]\nsessions = 6000\n")

    @contextlib.contextmanager
    def programs(self):
        """Programs that end with the block."""
        with Programs(self.folder) as programs:
            yield programs

    def serve_vpn(self, programs, service="message", grants=None, **more):
        """Our server; returns it and its port. `grants` permit `message`, `pipe` or `forward`."""
        port = free_port()
        grants = self.folder / f"authorized_{grants or ('message' if service == 'message' else 'pipe')}"
        command = [self.vpn, "server", "--host", "127.0.0.1", "--port", port, "--config", self.folder / "vpn.toml",
                   "--identity", self.folder / "server", "--authorized-clients", grants,
                   "--no-classic", "--service", service]
        return programs.serve(command, port, **more), port

    def vpn_client(self, port, *more):
        return [self.vpn, "client", "--sealed", "--host", "127.0.0.1", "--port", port,
                "--config", self.folder / "vpn.toml", "--identity", self.folder / "client",
                "--known-servers", self.folder / "known", "--server-key", self.fingerprint, *more]

    def chosen(self, peers, ours="ours"):
        """The peers that --only names, or all. Ours is always one of them, for the ratios."""
        only = self.options.only
        names = [name for name, _ in peers]
        unknown = sorted(set(only) - set(names))
        # With several benchmarks, a peer of one may not exist in another.
        if unknown and not self.options.is_group:
            raise SystemExit(f"peers: --only {','.join(unknown)}: there are {', '.join(names)}")
        return [(name, peer) for name, peer in peers if not only or name == ours or name in only]

    def take_turns(self, peers, measure):
        """Measures every peer once in each of `runs` turns. Returns the results, and the peers that were left out.

        `peers` are pairs of a name and an argument of `measure`, which returns a number or a dict of
        numbers. With turns, other work on the machine affects all peers alike.
        """
        taken, skipped = {}, {}
        for turn in range(self.options.runs):
            for name, peer in peers:
                if name in skipped:
                    continue
                try:
                    value = measure(peer)
                except Missing as missing:
                    skipped[name] = str(missing)
                    print(f"  {name}: left out: {missing}", file=sys.stderr)
                except Failed as failed:
                    # A peer that failed once has no result, because fewer runs are not comparable.
                    skipped[name] = str(failed)
                    taken.pop(name, None)
                    print(f"  {name}: FAILED: {failed}", file=sys.stderr)
                else:
                    taken.setdefault(name, []).append(value)
                    print(f"  {turn + 1}/{self.options.runs} {name}: {results.brief(value)}", file=sys.stderr)
        return taken, skipped


def run(command, **more):
    """Runs a short helper and returns what it prints."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, **more)
    if done.returncode != 0:
        raise Failed(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def build_load():
    """Builds the helper, if it is not up to date."""
    manifest = ROOT / "bench" / "load" / "Cargo.toml"
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    try:
        built = subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", str(manifest),
                                "--target-dir", str(target)], stdin=subprocess.DEVNULL, timeout=1800)
    except FileNotFoundError:
        raise SystemExit("peers: cargo is missing; or name a built helper with --load") from None
    if built.returncode != 0:
        raise SystemExit("peers: bench/load cannot be built; if its lock is behind: "
                         "cp Cargo.lock bench/load/ && cargo metadata --manifest-path bench/load/Cargo.toml >/dev/null")
    return target / "release" / "load"
