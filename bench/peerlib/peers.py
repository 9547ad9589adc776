"""The peers. They use the same suite, and listen only on this machine."""
import getpass
import os
from pathlib import Path

from .bench import find, run
from .procs import cpu_seconds, free_port

# OpenSSL's name of AES-256 in CBC mode with HMAC-SHA256, with a cheap key exchange.
CBC = "AES256-SHA256"
GCM = "TLS_AES_256_GCM_SHA384"
SSH_CBC = ("aes256-cbc", "hmac-sha2-256-etm@openssh.com")
SSH_GCM = ("aes256-gcm@openssh.com", None)


def certificate(folder):
    """A file with a key and a certificate. It is made once."""
    path = folder / "tls.pem"
    if not path.exists():
        key, cert = folder / "tls.key", folder / "tls.crt"
        run([find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2",
             "-keyout", key, "-out", cert])
        path.write_text(key.read_text() + cert.read_text())
        path.chmod(0o600)
    return path


def plain(_bench, _programs, port):
    """No forwarder."""
    return port, []


def stunnel(version):
    """A pair of stunnels in front of a port: the first one connects to the second, and the second one to the port."""
    suite = {"TLSv1.2": f"ciphers = {CBC}", "TLSv1.3": f"ciphersuites = {GCM}"}[version]

    def pair(bench, programs, port):
        program, pem = find("stunnel"), certificate(bench.folder)
        middle, front = free_port(), free_port()

        def half(role, accept, connect, more):
            path = bench.folder / f"stunnel.{role}.{accept}.conf"
            path.write_text(f"foreground = yes\npid =\nsyslog = no\ndebug = warning\n"
                            f"socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
                            f"sslVersion = {version}\n{suite}\n[pair]\n"
                            f"accept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{connect}\n{more}\n")
            return programs.serve([program, path], accept)

        server = half("server", middle, port, f"cert = {pem}")
        client = half("client", front, middle, "client = yes")
        return front, [client, server]

    return pair


def socat(bench, programs, port):
    """A pair of socats in front of a port. They do not encrypt, and start a process for each connection."""
    program, middle, front = find("socat"), free_port(), free_port()

    def half(accept, connect):
        listen = f"TCP-LISTEN:{accept},bind=127.0.0.1,fork,reuseaddr,backlog=128,nodelay"
        return programs.serve([program, listen, f"TCP:127.0.0.1:{connect},nodelay"], accept)

    server = half(middle, port)
    client = half(front, middle)
    return front, [client, server]


def spiped(bench, programs, port):
    """A pair of spipeds in front of a port: AES-256 in counter mode with HMAC-SHA256."""
    program, key = find("spiped"), bench.folder / "spiped.key"
    if not key.exists():
        key.write_bytes(Path("/dev/urandom").open("rb").read(32))
    middle, front = free_port(), free_port()

    def half(mode, source, target):
        # No limit on connections; in the foreground; no repeated name lookups.
        return programs.serve([program, mode, "-F", "-n", "0", "-R", "-k", key, "-s", f"[127.0.0.1]:{source}",
                               "-t", f"[127.0.0.1]:{target}"], source)

    server = half("-d", middle, port)
    client = half("-e", front, middle)
    return front, [client, server]


def sshd(bench, programs):
    """A separate sshd with its own keys and configuration, for the user of this script."""
    program, keygen, folder = find("sshd"), find("ssh-keygen"), bench.folder
    for name in ("ssh_host", "ssh_user"):
        if not (folder / name).exists():
            run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    empty = Path("/run/sshd")
    if os.geteuid() == 0 and not empty.exists():
        # The sshd of root needs this empty folder. Debian's service makes it at its start.
        empty.mkdir(mode=0o755)
        bench.made.append(empty)
    (folder / "ssh_authorized").write_text((folder / "ssh_user.pub").read_text())
    port = free_port()
    config = folder / f"sshd.{port}.conf"
    config.write_text(f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/ssh_host\nPidFile none\nUsePAM no\n"
                      f"AuthorizedKeysFile {folder}/ssh_authorized\nStrictModes no\nPasswordAuthentication no\n"
                      f"PermitRootLogin prohibit-password\nPermitUserEnvironment no\nPrintMotd no\n"
                      f"Ciphers aes256-cbc,aes256-gcm@openssh.com\nMACs hmac-sha2-256-etm@openssh.com\n")
    return programs.serve([program, "-D", "-e", "-f", config], port), port


def ssh(bench, port, suite, *command, options=()):
    """A command on that server, with only one allowed suite. `options` are more options of the client."""
    cipher, mac = suite
    host = (bench.folder / "ssh_host.pub").read_text().split()
    known = bench.folder / "ssh_known"
    known.write_text(f"bench {host[0]} {host[1]}\n")
    macs = ["-o", f"MACs={mac}"] if mac else []
    return [find("ssh"), "-F", "none", "-T", "-p", port, "-l", getpass.getuser(), "-i", bench.folder / "ssh_user",
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "Compression=no",
            "-o", "ControlPath=none", "-o", "HostKeyAlias=bench", "-o", f"UserKnownHostsFile={known}",
            "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=20", "-o", f"Ciphers={cipher}", *macs,
            *options, "127.0.0.1", *command]


def from_now(client, server):
    """The processor time of both counts from now, so without the handshake."""
    for process in (client, server):
        process.before = cpu_seconds(process.pid)
    return [client, server]


def vpn_forward(*options, socks=False):
    """`vpn client -L` or `-D` in front of a port."""
    def pair(bench, programs, port):
        server, middle = bench.serve_vpn(programs, grants="forward")
        front = free_port()
        what = ["-D", f"127.0.0.1:{front}"] if socks else ["-L", f"127.0.0.1:{front}:127.0.0.1:{port}"]
        client = programs.serve(bench.vpn_client(middle, *what, "--no-reconnect", *options), front)
        return front, from_now(client, server)
    return pair


def ssh_forward(suite, socks=False):
    """`ssh -L` or `-D` in front of a port."""
    def pair(bench, programs, port):
        server, middle = sshd(bench, programs)
        front = free_port()
        what = ["-D", f"127.0.0.1:{front}"] if socks else ["-L", f"127.0.0.1:{front}:127.0.0.1:{port}"]
        command = ssh(bench, middle, suite, options=["-N", "-o", "ExitOnForwardFailure=yes", *what])
        client = programs.serve(command, front)
        return front, from_now(client, server)
    return pair
