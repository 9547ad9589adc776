"""ssh, scp, git and rsync, with a server of OpenSSH of our own."""
import hashlib
import os
import pwd
import random
import shlex
from pathlib import Path

from start import LOOPBACK, case, check, find

SSH = ["sshd", "ssh", "ssh-keygen"]


class Sshd:
    """A server of OpenSSH for the whole run, with keys of its own."""

    def __init__(self, bench):
        self.bench = bench
        self.folder = bench.folder / "sshd"
        self.folder.mkdir(mode=0o711)
        if os.geteuid() == 0:
            # Debian's sshd wants this folder, which its unit makes otherwise.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for name in ("host", "user"):
            bench.run(find("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        keys = self.folder / "authorized_keys"
        keys.write_text((self.folder / "user.pub").read_text())
        (self.folder / "known_hosts").write_text(f"target {(self.folder / 'host.pub').read_text()}")
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        settings = {"ListenAddress": LOOPBACK, "HostKey": self.folder / "host", "AuthorizedKeysFile": keys, "PidFile": "none",
                    "StrictModes": "no", "PasswordAuthentication": "no", "PermitRootLogin": "prohibit-password",
                    # Without PAM it refuses users whose password is locked.
                    "UsePAM": "yes" if self.is_locked() else "no",
                    "MaxStartups": 100, "Subsystem": "sftp internal-sftp"}
        config = self.folder / "config"
        config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        self.port = bench.service("sshd", lambda port: [find("sshd"), "-D", "-e", "-f", config, "-p", port])

    def is_locked(self):
        try:
            lines = Path("/etc/shadow").read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith(f"{self.user}:!") for line in lines)

    def options(self):
        """Options of ssh and scp: nothing of the user's, and the right keys."""
        return ["-F", "/dev/null", "-i", self.folder / "user", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o",
                f"UserKnownHostsFile={self.folder / 'known_hosts'}", "-o", "HostKeyAlias=target", "-o", "LogLevel=ERROR"]

    def through(self, bench, server):
        """Options of ssh and scp, with our client as ProxyCommand."""
        command = shlex.join(bench.client_command(server)) + " -W %h:%p"
        return [*self.options(), "-o", f"ProxyCommand={command}"]

    def at(self):
        return f"{self.user}@{LOOPBACK}"


def tree_of(folder):
    """The files of a folder with their contents, links and modes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            found[name] = path.stat().st_mode
    return found


def make_tree(folder, files=200, large=5_000_000):
    """A folder with many small files, an empty one, a large one and a link."""
    dice = random.Random(5)
    for number in range(files):
        path = folder / f"part {number % 7}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(dice.randrange(20_000)))
    (folder / "empty").touch()
    (folder / "large").write_bytes(dice.randbytes(large))
    (folder / "large").chmod(0o640)
    (folder / "link").symlink_to("part 1/file1")


def check_ssh(bench, *command):
    """Tries commands at the other end: their output, input and exit code."""
    said = bench.run(*command, "cat; echo problem >&2", input=b"some\0bytes\n")
    check((said.out, said.err) == (b"some\0bytes\n", b"problem\n"), f"ssh says {said.out} {said.err}")
    for code in (0, 1, 37, 254):
        bench.run(*command, f"exit {code}", code=code)
    # The client of the tunnel must not hold a session open after its end.
    much = bench.run(*command, "head -c 3000000 /dev/zero").out
    check(much == bytes(3_000_000), f"{len(much)} bytes instead of 3,000,000")


@case(*SSH)
def ssh_by_proxy_command(bench):
    sshd = bench.once(Sshd)
    server = bench.server()
    check_ssh(bench, find("ssh"), *sshd.through(bench, server), "-p", sshd.port, sshd.at())


@case(*SSH)
def ssh_by_a_forward(bench):
    sshd = bench.once(Sshd)
    _, _, port = bench.forward(sshd.port)
    check_ssh(bench, find("ssh"), *sshd.options(), "-p", port, sshd.at())


@case(*SSH)
def ssh_fails_if_the_target_refuses(bench):
    sshd = bench.once(Sshd)
    server = bench.server(f"forward:{LOOPBACK}:1")
    # Port 1 is permitted and nobody listens there. The other port is not permitted.
    for port in (1, sshd.port):
        refused = bench.run(find("ssh"), *sshd.through(bench, server), "-p", port, sshd.at(), "true", code=255)
        check(refused.errors().startswith("vpn: "), f"port {port}: {refused.errors()}")


@case(*SSH, "scp")
def scp_of_50_megabytes(bench):
    sshd = bench.once(Sshd)
    server = bench.server()
    sent, there, back = (bench.folder / name for name in ("sent", "there", "back"))
    sent.write_bytes(random.Random(2).randbytes(50_000_000))
    scp = [find("scp"), "-q", *sshd.through(bench, server), "-P", sshd.port]
    bench.run(*scp, sent, f"{sshd.at()}:{there}", seconds=40)
    check(there.read_bytes() == sent.read_bytes(), "other bytes have arrived")
    bench.run(*scp, f"{sshd.at()}:{there}", back, seconds=40)
    check(back.read_bytes() == sent.read_bytes(), "other bytes have come back")


def make_repository(bench):
    """A repository with a commit and its bare copy. Returns the bare one."""
    work, bare = bench.folder / "work", bench.folder / "bare" / "project.git"
    bench.environment.update({"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
                              "GIT_COMMITTER_EMAIL": "a@b", "GIT_TERMINAL_PROMPT": "0"})
    make_tree(work)
    git(bench, work, "init", "-q", "-b", "main")
    git(bench, work, "add", "-A")
    git(bench, work, "commit", "-q", "-m", "first")
    bench.run(find("git"), "clone", "-q", "--bare", work, bare)
    return bare


def git(bench, folder, *words):
    return bench.run(find("git"), "-C", folder, *words, seconds=40).text().strip()


@case(*SSH, "git")
def git_clone_and_push_by_proxy_command(bench):
    sshd = bench.once(Sshd)
    server = bench.server()
    bare, clone = make_repository(bench), bench.folder / "clone"
    bench.environment["GIT_SSH_COMMAND"] = shlex.join(map(str, ["ssh", *sshd.through(bench, server)]))
    bench.run(find("git"), "clone", "-q", f"ssh://{sshd.at()}:{sshd.port}{bare}", clone, seconds=40)
    check(git(bench, clone, "rev-parse", "HEAD") == git(bench, bare, "rev-parse", "main"), "another commit")
    (clone / "more").write_bytes(random.Random(9).randbytes(3_000_000))
    git(bench, clone, "add", "-A")
    git(bench, clone, "commit", "-q", "-m", "second")
    git(bench, clone, "push", "-q")
    check(git(bench, bare, "rev-parse", "main") == git(bench, clone, "rev-parse", "HEAD"), "the push has not arrived")
    git(bench, bare, "fsck", "--strict")


@case("git")
def git_clone_from_git_daemon(bench):
    bare, clone = make_repository(bench), bench.folder / "clone"
    daemon = bench.service("git-daemon", lambda port: [find("git"), "daemon", "--reuseaddr", "--export-all", f"--port={port}",
                                                       f"--listen={LOOPBACK}", f"--base-path={bare.parent}", bare.parent])
    _, _, port = bench.forward(daemon)
    bench.run(find("git"), "clone", "-q", f"git://{LOOPBACK}:{port}/{bare.name}", clone, seconds=40)
    check(git(bench, clone, "rev-parse", "HEAD") == git(bench, bare, "rev-parse", "main"), "another commit")
    git(bench, clone, "fsck", "--strict")


@case(*SSH, "rsync")
def rsync_by_proxy_command(bench):
    sshd = bench.once(Sshd)
    server = bench.server()
    sent, there, back = (bench.folder / name for name in ("sent", "there", "back"))
    make_tree(sent)
    shell = shlex.join(map(str, ["ssh", *sshd.through(bench, server), "-p", sshd.port]))
    bench.run(find("rsync"), "-a", "-e", shell, f"{sent}/", f"{sshd.at()}:{there}/", seconds=40)
    check(tree_of(there) == tree_of(sent), "another tree has arrived")
    bench.run(find("rsync"), "-a", "-e", shell, f"{sshd.at()}:{there}/", f"{back}/", seconds=40)
    check(tree_of(back) == tree_of(sent), "another tree has come back")


RSYNCD = """
use chroot = no
munge symlinks = no
log file = /dev/stderr
[files]
    path = {path}
    read only = no
{user}
"""


@case("rsync")
def rsync_with_its_own_daemon(bench):
    sent, there, back = (bench.folder / name for name in ("sent", "there", "back"))
    make_tree(sent)
    there.mkdir()
    config = bench.folder / "rsyncd.conf"
    config.write_text(RSYNCD.format(path=there, user="    uid = root\n    gid = root" if os.geteuid() == 0 else ""))
    daemon = bench.service("rsyncd", lambda port: [find("rsync"), "--daemon", "--no-detach", f"--config={config}",
                                                   f"--address={LOOPBACK}", f"--port={port}"])
    _, _, port = bench.forward(daemon)
    url = f"rsync://{LOOPBACK}:{port}/files/"
    bench.run(find("rsync"), "-a", f"{sent}/", url, seconds=40)
    check(tree_of(there) == tree_of(sent), "another tree has arrived")
    bench.run(find("rsync"), "-a", url, f"{back}/", seconds=40)
    check(tree_of(back) == tree_of(sent), "another tree has come back")
