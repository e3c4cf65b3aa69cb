#!/usr/bin/env python3
"""Does `linerate compare` tell the truth on a machine whose CPUs are taken away?

Runs short comparisons (syscall and ring-xsk, by drain) beside thieves on both CPUs, cell by cell, with a quiet run
before each cell, and prints a Markdown table. A run is right if its ratio is within 10 % of the quiet one or if it
says that it cannot tell. Thieves:

  fifo   SCHED_FIFO loops that spin for a part of each period (needs root), in phase or half a period apart
  nice   one ordinary loop on each CPU that never sleeps (no privilege; takes about half)
  stop   SIGSTOP and SIGCONT on linerate itself: nothing in this kernel's counters shows it

    tools/acceptance.py target/release/linerate [--runs 40] [--cells fifo,nice,stop] [--duties 30,50,70] [--periods 1,4,20]

With --ping it compares the round trips of two paths that never sleep instead.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from multiprocessing import Process

SIZES = (64, 1518)
# Load, paths (the second against the first) and metrics.
DRAIN = ("drain", ("syscall", "ring-xsk"), ("echoed_pps", "cpu_ns_per_echo"))
PING = ("ping", ("syscall@spin", "latency"), ("rtt_p50_ns",))


def spin(cpu, duty, period_ms, offset, fifo):
    """Takes `duty` of each period of a CPU, for ever."""
    os.sched_setaffinity(0, {cpu})
    if fifo:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    period = period_ms / 1e3
    begin = math.ceil(time.monotonic() / period) * period + offset * period
    while True:
        time.sleep(max(0.0, begin - time.monotonic()))
        end = begin + duty * period
        while time.monotonic() < end:
            pass
        begin += period


@contextlib.contextmanager
def thieves(cpus, duty, period_ms, apart, fifo):
    """Thieves on these CPUs, while the block runs."""
    running = []
    for at, cpu in enumerate(cpus):
        offset = 0.5 * at if apart else 0.0
        thief = Process(target=spin, args=(cpu, duty, period_ms, offset, fifo), daemon=True)
        thief.start()
        running.append(thief)
    try:
        yield
    finally:
        for thief in running:
            thief.kill()
            thief.join()


def compare(arguments, stops=None):
    """One comparison; `stops` are (duty, period in ms) of SIGSTOP cycles on it."""
    load, paths, _ = arguments.asked
    command = [arguments.program, "compare", "--paths", ",".join(paths), "--loads", load, "--json", "-"]
    command += ["--sizes", ",".join(map(str, SIZES)), "--max-time", arguments.max_time]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stopper = None
    if stops:
        duty, period = stops[0], stops[1] / 1e3

        def stop_and_go(pid):
            while True:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(duty * period)
                os.kill(pid, signal.SIGCONT)
                time.sleep((1 - duty) * period)

        stopper = Process(target=stop_and_go, args=(child.pid,), daemon=True)
        stopper.start()
    try:
        out, err = child.communicate(timeout=600)
    finally:
        if stopper:
            stopper.kill()
            stopper.join()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGCONT)
    # 1 says that every round of a path was void: it cannot tell.
    if child.returncode not in (0, 1) or not out:
        sys.exit(f"{' '.join(command)}: exit code {child.returncode}\n{err.decode()}")
    return json.loads(out)


def told(asked, document):
    """(size, metric) -> the ratio of the second path to the first; None where it cannot be told."""
    load, (_, path), metrics = asked
    found = {(size, metric): None for size in SIZES for metric in metrics}
    for result in document["results"]:
        if result["contestant"] != path or load not in result["loads"]:
            continue
        for metric, values in result["loads"][load]["metrics"].items():
            if metric in metrics and values["state"]["state"] != "cannot_tell":
                found[result["frame_bytes"], metric] = values["ratio_to_baseline"]["estimate"]
    return found


def cells(arguments):
    """Name and a function that runs one comparison in it."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    kinds = arguments.cells.split(",")
    periods = [float(period) for period in arguments.periods.split(",")]
    duties = [float(duty) / 100 for duty in arguments.duties.split(",")]

    def robbed(duty, period, apart, fifo):
        with thieves(cpus, duty, period, apart, fifo):
            return compare(arguments)

    if "fifo" in kinds:
        for duty in duties:
            for period in periods:
                for apart in (False, True):
                    name = f"fifo {duty:.0%} of {period:g} ms, {'apart' if apart else 'in phase'}"
                    yield name, lambda d=duty, p=period, a=apart: robbed(d, p, a, True)
    if "nice" in kinds:
        yield "nice, one loop per CPU", lambda: robbed(1.0, 1000.0, False, False)
    if "stop" in kinds:
        for duty in duties:
            for period in periods:
                name = f"stop {duty:.0%} of {period:g} ms"
                yield name, lambda d=duty, p=period: compare(arguments, (d, p))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--cells", default="fifo,nice,stop")
    parser.add_argument("--duties", default="30,50,70")
    parser.add_argument("--periods", default="1,4,20")
    parser.add_argument("--max-time", default="10s")
    parser.add_argument("--ping", dest="asked", action="store_const", const=PING, default=DRAIN)
    arguments = parser.parse_args()

    quiet = {key: [] for key in told(arguments.asked, {"results": []})}
    results = []
    for name, run in cells(arguments):
        for key, ratio in told(arguments.asked, compare(arguments)).items():
            quiet[key] += [ratio] if ratio else []
        results.append((name, [told(arguments.asked, run()) for _ in range(arguments.runs)]))
        print(f"{name}: done", file=sys.stderr)
    truth = {key: statistics.median(ratios) for key, ratios in quiet.items() if ratios}
    if not truth:
        sys.exit("the quiet runs could not tell anything: this machine is not quiet, or --max-time is too short")
    for (size, metric), ratio in truth.items():
        low, high = min(quiet[size, metric]), max(quiet[size, metric])
        print(f"quiet, {size} B, {metric}: {ratio:.3f} ({low:.3f} to {high:.3f}, {len(quiet[size, metric])} runs)")
    print("\nthieves | told | cannot tell | within 10 % | farthest | reversed\n---|---|---|---|---|---")
    failed = False
    for name, runs in results:
        ratios = [(run[key], truth[key]) for run in runs for key in truth]
        known = [(ratio, true) for ratio, true in ratios if ratio is not None]
        off = [abs(ratio / true - 1) for ratio, true in known]
        wrong = sum((ratio > 1) != (true > 1) for ratio, true in known)
        silent = 1 - len(known) / len(ratios)
        right = sum(one <= 0.10 for one in off)
        failed |= wrong > 0 or right < len(known)
        print(
            f"{name} | {len(known)} of {len(ratios)} | {silent:.0%} | {right} of {len(known)}"
            f" | {max(off, default=0):.1%} | {wrong}"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
