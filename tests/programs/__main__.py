"""Tests the program with real programs on loopback: databases, web servers, ssh, git, rsync.

    .ci/programs VPN_BINARY                    the short run, below three minutes
    .ci/programs --long VPN_BINARY             the long run, with gigabytes and thousands of channels
    .ci/programs --only 'git*' VPN_BINARY      some cases; may be given several times

Needs Linux and Python 3.11. `packages` lists the Debian packages; a case without its program is skipped, or fails
with --strict. It installs nothing, and ends all processes that it has started.
"""
import argparse
import fnmatch
import importlib
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import start

# The files with cases, in the order of the run.
GROUPS = ["databases", "web", "shells", "commands", "channels", "ends", "losses"]


def arguments():
    parser = argparse.ArgumentParser(prog=".ci/programs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vpn", metavar="VPN_BINARY", type=Path, help="the program to test")
    parser.add_argument("--long", action="store_true", help="large numbers, for the nightly run")
    parser.add_argument("--strict", action="store_true", help="a missing program is a failure")
    parser.add_argument("--only", metavar="PATTERN", action="append", help="cases whose name matches")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and run none")
    options = parser.parse_args()
    options.vpn = options.vpn.resolve()
    if not options.vpn.is_file():
        parser.error(f"{options.vpn} is no file")
    return options


def too_slow(*_):
    raise start.Failed("deadline of the case")


def stopped(number, _):
    raise SystemExit(128 + number)


def run(case, shared):
    """Runs a case, and prints its line. Returns whether it is ok."""
    began = time.monotonic()
    seconds = shared.short_or_long(case.seconds, case.long_seconds)
    why = None
    try:
        with start.one_case(shared, case.name) as bench:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                case.function(bench)
            except BaseException:
                for program in bench.programs:
                    if program.name.startswith(("server", "client")):
                        print(f"    {program.name}: {program.tail()}", file=sys.stderr)
                raise
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except start.Failed as failed:
        why = str(failed)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        traceback.print_exc()
    took = time.monotonic() - began
    line = " ".join(why.split()) if why is not None else ""
    print(f"FAILED {case.name}: {line}" if why is not None else f"ok {case.name} {took:.1f}", flush=True)
    return why is None


def main():
    options = arguments()
    for group in GROUPS:
        importlib.import_module(group)
    wanted = [case for case in start.CASES
              if not options.only or any(fnmatch.fnmatch(case.name, only) for only in options.only)]
    if options.list:
        print("\n".join(case.name for case in wanted))
        return 0
    if not wanted:
        print("FAILED: no such case")
        return 1
    signal.signal(signal.SIGALRM, too_slow)
    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGHUP, stopped)
    start.prepare_this_process()
    # A thread of a case that has failed must not print.
    threading.excepthook = lambda _: None
    failures = 0
    began = time.monotonic()
    with start.whole_run(options.vpn, options.long) as shared:
        for case in wanted:
            missing = [program for program in case.needs if not start.find(program)]
            if missing:
                print(f"SKIPPED {case.name}: no {', '.join(missing)}", flush=True)
                failures += options.strict
            else:
                failures += not run(case, shared)
    print(f"{len(wanted)} cases, {failures} failures, {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


sys.exit(main())
