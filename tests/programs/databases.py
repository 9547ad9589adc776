"""PostgreSQL and Redis through forwards."""
import hashlib
import os
import pwd
import random
import re
import signal
import socket

from start import ANY_PORT, LOOPBACK, PATIENCE, case, check, find, until


class Postgres:
    """A server of PostgreSQL for the whole run, without passwords. `socket` is its unix socket."""

    def __init__(self, bench):
        self.bench = bench
        self.folder = bench.folder / "postgres"
        self.folder.mkdir(mode=0o711)
        # It refuses to run as root.
        self.as_user = []
        if os.geteuid() == 0:
            name = next(user.pw_name for user in pwd.getpwall() if user.pw_name in ("postgres", "nobody"))
            user = pwd.getpwnam(name)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.as_user = [find("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        data = self.folder / "data"
        self.initdb(data)
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "fsync=off",
                    "synchronous_commit=off", "synchronize_seqscans=off", "autovacuum=off", "max_wal_size=4GB"]
        options = [part for setting in settings for part in ("-c", setting)]
        self.port = bench.service("postgres", lambda port: [*self.as_user, find("postgres"), "-D", data, "-p", port, *options],
                                  signal_to_end=signal.SIGINT, cwd=self.folder)
        self.socket = self.folder / f".s.PGSQL.{self.port}"
        until("PostgreSQL is ready", lambda: self.run_psql(self.folder, self.port, "select 1", code=None).code == 0)

    def initdb(self, data):
        self.bench.run(*self.as_user, find("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
                       cwd=self.folder, seconds=60)

    def psql(self, host, port, *options):
        return [find("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", "postgres",
                "-d", "postgres", *options]

    def run_psql(self, host, port, text, **options):
        return self.bench.run(*self.psql(host, port, "-c", text), **options)

    def direct(self, text, **options):
        """Asks the server without a forward."""
        return self.run_psql(self.folder, self.port, text, **options)

    def hash_of(self, host, port, table, seconds):
        """The hash and the number of bytes of a table, as COPY writes it."""
        path = self.bench.folder / f"{table}.copy"
        with path.open("wb") as file:
            self.run_psql(host, port, f"COPY {table} TO STDOUT", stdout=file, seconds=seconds)
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
        finally:
            path.unlink()


POSTGRES = ["postgres", "initdb", "psql"]


@case(*POSTGRES, "pgbench")
def pgbench_runs_without_errors(bench):
    postgres = bench.once(Postgres)
    _, _, port = bench.forward(postgres.port)
    command = [find("pgbench"), "-h", LOOPBACK, "-p", port, "-U", "postgres"]
    bench.run(*command, "-i", "-q", "postgres")
    done = bench.run(*command, "-c", "8", "-T", "5", "postgres").text()
    failures = re.search(r"number of failed transactions: (\d+)", done)
    check(failures and failures[1] == "0", f"failed transactions: {done}")
    processed = re.search(r"number of transactions actually processed: (\d+)", done)
    check(processed and int(processed[1]) > 8, f"transactions: {done}")


@case(*POSTGRES, long_seconds=900)
def copy_out_and_in_keeps_every_byte(bench):
    postgres = bench.once(Postgres)
    _, _, port = bench.forward(postgres.port)
    rows = bench.short_or_long(100_000, 1_000_000)
    seconds = bench.short_or_long(40, 300)
    postgres.direct("CREATE UNLOGGED TABLE there (number int, text text);"
                    f"INSERT INTO there SELECT n, repeat(md5(n::text), 31) FROM generate_series(1, {rows}) n",
                    seconds=seconds)
    expected, size = postgres.hash_of(postgres.folder, postgres.port, "there", seconds)
    check(size > rows * 992, f"only {size} bytes")
    copied = bench.folder / "copied"
    with copied.open("wb") as file:
        postgres.run_psql(LOOPBACK, port, "COPY there TO STDOUT", stdout=file, seconds=seconds)
    with copied.open("rb") as file:
        check(hashlib.file_digest(file, "sha256").hexdigest() == expected, "COPY TO has other bytes")
    postgres.direct("CREATE UNLOGGED TABLE back (LIKE there)")
    with copied.open("rb") as file:
        postgres.run_psql(LOOPBACK, port, "COPY back FROM STDIN", input=file, seconds=seconds)
    check(postgres.hash_of(postgres.folder, postgres.port, "back", seconds)[0] == expected, "COPY FROM has other bytes")
    postgres.direct("DROP TABLE there, back")


@case(*POSTGRES)
def a_query_is_cancelled(bench):
    postgres = bench.once(Postgres)
    _, _, port = bench.forward(postgres.port)
    psql = bench.start("psql", postgres.psql(LOOPBACK, port, "-c", "select pg_sleep(60)"))
    running = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(60)'"
    until("the query runs", lambda: postgres.direct(running).text() == "1\n")
    # psql sends the cancel over a second connection.
    psql.kill(signal.SIGINT)
    code = psql.wait()
    errors = psql.err.read_text()
    check("canceling statement due to user request" in errors and code == 1, f"psql ended with {code}: {errors}")
    until("the query has ended", lambda: postgres.direct(running).text() == "0\n")


@case(*POSTGRES)
def postgres_answers_at_unix_sockets(bench):
    postgres = bench.once(Postgres)
    # psql looks for a file with this name in a folder.
    here = bench.folder / ".s.PGSQL.5432"
    server = bench.server(f"{ANY_PORT},forward:{postgres.socket}")
    client = bench.client(server, "-L", f"{here}:{LOOPBACK}:{postgres.port}", "-L", f"{LOOPBACK}:0:{postgres.socket}")
    for host, port in ((bench.folder, 5432), (LOOPBACK, client.ports[1])):
        check(postgres.run_psql(host, port, "select 6 * 7").text() == "42\n", f"no answer at {host} {port}")


def redis(bench):
    """A server of Redis for one case. Returns its port."""
    return bench.service("redis", lambda port: [find("redis-server"), "--bind", LOOPBACK, "--port", port, "--save", "",
                                                "--appendonly", "no", "--dir", bench.folder])


@case("redis-server", "redis-benchmark")
def redis_benchmark_with_pipelining(bench):
    _, _, port = bench.forward(redis(bench))
    done = bench.run(find("redis-benchmark"), "-h", LOOPBACK, "-p", port, "-P", "16", "-c", "50", "-q",
                     "-n", bench.short_or_long(100_000, 2_000_000), "-t", "set,get,incr,lrange_100",
                     seconds=bench.short_or_long(50, 500))
    text = done.text().replace("\r", "\n")
    results = re.findall(r"^(\S+).*: ([\d.]+) requests per second", text, re.MULTILINE)
    names = {name for name, _ in results}
    check({"SET", "GET", "INCR", "LRANGE_100"} <= names, f"results of {names}: {text[-300:]}")
    check("rror" not in text + done.errors(), f"errors: {text[-300:]} {done.errors()[-300:]}")


def resp(*words):
    """A command in the protocol of Redis."""
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])


@case("redis-server", "redis-cli")
def ten_thousand_keys_are_equal(bench):
    direct = redis(bench)
    _, _, port = bench.forward(direct)
    dice = random.Random(7)
    values = {b"key:%d" % number: dice.randbytes(dice.randrange(4096)) for number in range(10_000)}
    sets = b"".join(resp(b"SET", key, value) for key, value in values.items())
    done = bench.run(find("redis-cli"), "-h", LOOPBACK, "-p", port, "--pipe", input=sets)
    check("errors: 0, replies: 10000" in done.text(), f"redis-cli says {done.text()}")
    expected = hashlib.sha256(b"".join(b"$%d\r\n%b\r\n" % (len(value), value) for value in values.values())).hexdigest()
    for at in (port, direct):
        with socket.create_connection((LOOPBACK, at), timeout=PATIENCE) as connection:
            connection.sendall(b"".join(resp(b"GET", key) for key in values) + resp(b"QUIT"))
            replies = connection.makefile("rb").read()
        check(hashlib.sha256(replies.removesuffix(b"+OK\r\n")).hexdigest() == expected, f"other values at port {at}")
