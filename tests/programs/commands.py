"""Commands of the server, with --exec."""
import hashlib
import random
import signal
from pathlib import Path

from shells import make_tree, tree_of
from start import case, check, find, until


def server_with(bench, **commands):
    """A server with these commands, all of them permitted."""
    config = ""
    for name, command in commands.items():
        words = ", ".join('"' + str(word).replace("\\", "\\\\").replace('"', '\\"') + '"' for word in command)
        config += f"\n[exec.{name}]\ncommand = [{words}]\n"
    return bench.server(",".join(f"exec:{name}" for name in commands), config)


def shell(text):
    return [find("sh"), "-c", text]


def execute(bench, server, name, **options):
    return bench.run(*bench.client_command(server, "--exec", name), **options)


@case("sh")
def a_command_has_three_streams(bench):
    server = server_with(bench, both=shell("cat; echo problem >&2"),
                         many=shell("head -c 5000000 /dev/zero >&2; head -c 5000001 /dev/zero"))
    sent = random.Random(1).randbytes(20_000_000)
    done = execute(bench, server, "both", input=sent)
    check(hashlib.sha256(done.out).digest() == hashlib.sha256(sent).digest(), f"{len(done.out)} other bytes came back")
    check(done.err == b"problem\n", f"standard error has {done.err[:100]}")
    done = execute(bench, server, "many")
    check((done.out, done.err) == (bytes(5_000_001), bytes(5_000_000)), f"{len(done.out)} and {len(done.err)} bytes")


@case("sh")
def a_command_has_its_exit_status(bench):
    codes = (0, 1, 2, 37, 255)
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT)
    server = server_with(bench, **{f"exit{code}": shell(f"exit {code}") for code in codes},
                         **{f"signal{int(number)}": shell(f"kill -{int(number)} $$") for number in signals})
    for code in codes:
        execute(bench, server, f"exit{code}", code=code)
    for number in signals:
        execute(bench, server, f"signal{int(number)}", code=128 + number)


@case("sh")
def a_command_may_leave_its_input(bench):
    server = server_with(bench, leave=shell("head -c 10; exit 4"), sleep=shell("exec >&-; sleep 0.3; exit 5"))
    done = execute(bench, server, "leave", input=bytes(20_000_000), code=4)
    check(done.out == bytes(10), f"{len(done.out)} bytes instead of 10")
    execute(bench, server, "sleep", code=5)


@case("sh", "env")
def a_command_has_a_small_environment(bench):
    done = execute(bench, server_with(bench, env=[find("env")]), "env")
    names = {line.partition("=")[0] for line in done.text().splitlines()}
    check(names == {"PATH", "VPN_CLIENT"}, f"the environment has {names}")


@case("sh")
def a_command_without_permit_does_not_run(bench):
    mark = bench.folder / "mark"
    server = bench.server("exec:other", f'\n[exec.mark]\ncommand = ["{find("touch")}", "{mark}"]\n')
    for name in ("mark", "other"):
        # 255, as with ssh: the other codes are those of commands.
        done = execute(bench, server, name, code=255)
        check(done.errors().startswith("vpn: "), f"{name}: {done.errors()}")
    check(not mark.exists(), "the command has run")


@case("sh")
def a_command_ends_with_its_client(bench):
    server = server_with(bench, long=shell("sleep 300 & echo $$ $!; wait"))
    client = bench.start("client", bench.client_command(server, "--exec", "long"))
    pids = client.wait_for_lines(r"^(\d+) (\d+)$")[0]
    client.kill()

    def have_ended():
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        return all(not state.exists() or ") Z " in state.read_text() for state in states)
    until("the command and its child have ended", have_ended, seconds=8)


@case("sh", "tar")
def tar_copies_a_tree(bench):
    sent, there, back = (bench.folder / name for name in ("sent", "there", "back"))
    make_tree(sent)
    there.mkdir()
    back.mkdir()
    tar = find("tar")
    server = server_with(bench, put=[tar, "-xf", "-", "-C", there], get=[tar, "-cf", "-", "-C", there, "."])
    archive = bench.run(tar, "-cf", "-", "-C", sent, ".").out
    execute(bench, server, "put", input=archive)
    check(tree_of(there) == tree_of(sent), "another tree has arrived")
    bench.run(tar, "-xf", "-", "-C", back, input=execute(bench, server, "get").out)
    check(tree_of(back) == tree_of(sent), "another tree has come back")
