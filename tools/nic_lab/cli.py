"""linerate over real NIC drivers and other kernels, in machines that QEMU emulates.

    tools/nic-lab                                 every check on every kernel and NIC: a JSON line for each
    tools/nic-lab --kernel 7.3 --nic igb --check zero-copy
    tools/nic-lab --kernel 7.3 --nic igb --shell  a shell in the guest, for people
    tools/nic-lab --matrix                        kernel x NIC x path x form of frame, as a Markdown table
    tools/nic-lab --suite                         the trials of tests/namespaces that ask the kernel, on these kernels
    tools/nic-lab --list                          kernels, NICs and checks

It tells what works and whether the books balance, never how fast. Needs qemu-system-x86 8.0 or newer (Debian 12 has it
in bookworm-backports), busybox-static, ethtool, iproute2, zstd. Kernels are Debian's packages, verified, unpacked under
$XDG_CACHE_HOME/linerate-nic-lab and never installed. Exit code: 0 all right, 1 not, 77 something is missing here.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

from . import checks, events, image, matrix, stamps, suite  # noqa: F401 (events and stamps enter checks)
from .kernels import KERNELS, Unfit
from .link import Link
from .machine import NICS, Lost, Machine

SKIPPED = 77


def main():
    arguments = parsed()
    # Ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if arguments.list:
            return listed()
        files = suite.programs() if arguments.suite else {"bin/linerate": arguments.linerate or built()}
        programs = [image.found(name) for name in ("ip", "tc", "ethtool")]
        events.wanted = arguments.events
        boots = [
            Machine(kernel, nic, programs, files, arguments.limit, kvm=arguments.kvm)
            for kernel in arguments.kernel
            for nic in (arguments.nic[:1] if arguments.suite else arguments.nic)
        ]
        if arguments.shell:
            return boots[0].shell()
        with_results = matrix_of if arguments.matrix else suite_of if arguments.suite else checks_of
        return with_results(boots, arguments)
    except Unfit as unfit:
        print(f"nic-lab: {unfit}", file=sys.stderr)
        return SKIPPED


def parsed():
    summary, rest = __doc__.split("\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several = {"type": lambda text: text.split(",")}
    parser.add_argument("--kernel", default=[*KERNELS], help="default: all", **several)
    parser.add_argument("--nic", default=[*NICS], help="default: all", **several)
    parser.add_argument("--check", default=[*checks.CHECKS], help="default: all", **several)
    parser.add_argument("--events", default=[*events.EVENTS], help="of events and events-xdp; default: all", **several)
    parser.add_argument("--paths", default=[*matrix.PATHS], help="of the matrix; default: all", **several)
    parser.add_argument("--topics", default=[*suite.TOPICS], help="of the suite; default: those of kernel facts", **several)
    parser.add_argument("--linerate", metavar="BINARY", help="default: what cargo build --release makes")
    parser.add_argument("--limit", type=int, default=3600, metavar="SECONDS", help="of one boot; default: 3600")
    parser.add_argument("--kvm", action="store_true", help="use KVM: only where it is known to be safe")
    what = parser.add_mutually_exclusive_group()
    for name in ("shell", "matrix", "suite", "list"):
        what.add_argument(f"--{name}", action="store_true")
    arguments = parser.parse_args()
    for chosen, known in ((arguments.kernel, KERNELS), (arguments.nic, NICS), (arguments.check, checks.CHECKS), (arguments.events, events.EVENTS)):
        for name in chosen:
            if name not in known:
                parser.error(f"{name}: there are {', '.join(known)}")
    if arguments.shell and len(arguments.kernel) * len(arguments.nic) != 1:
        parser.error("--shell takes one --kernel and one --nic")
    return arguments


def listed():
    for kernel in KERNELS.values():
        print(f"kernel {kernel.short:<11}{' '.join(package.name for package in kernel.packages)}")
    for nic, device in NICS.items():
        print(f"NIC    {nic:<11}QEMU's {device}")
    for name, check in checks.CHECKS.items():
        print(f"check  {name:<11}{check.says}")
    return 0


def built():
    subprocess.run(["cargo", "build", "--release", "--quiet"], check=True)
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], check=True, capture_output=True)
    return os.path.join(json.loads(metadata.stdout)["target_directory"], "release", "linerate")


def checks_of(boots, arguments):
    failed = 0

    def report(boot, name, wrong, seconds):
        nonlocal failed
        failed += bool(wrong)
        line = {"kernel": boot.kernel, "nic": boot.nic, "check": name, "ok": not wrong, "seconds": seconds}
        print(json.dumps({**line, "wrong": wrong} if wrong else line), flush=True)

    for boot in boots:
        wanted = [name for name in arguments.check if checks.meant_for(name, boot)]
        began = time.monotonic()
        try:
            with boot as machine:
                link = Link(machine)
                report(boot, "boot", [], round(time.monotonic() - began, 1))
                for name in wanted:
                    began = time.monotonic()
                    wrong = checks.CHECKS[name].run(link)
                    report(boot, name, wrong, round(time.monotonic() - began, 1))
        except Lost as lost:
            report(boot, "boot", [str(lost)], round(time.monotonic() - began, 1))
    return int(failed > 0)


def matrix_of(boots, arguments):
    results, failed = [], 0
    for boot in boots:
        try:
            with boot as machine:
                for path, form, verdict, right in matrix.tried(Link(machine), arguments.paths):
                    failed += not right
                    cell = (boot.kernel, boot.nic, path, form, verdict)
                    results.append(cell)
                    print("nic-lab:", *cell, file=sys.stderr, flush=True)
        except Lost as lost:
            failed += 1
            print(f"nic-lab: {boot.kernel} {boot.nic}: {lost}", file=sys.stderr, flush=True)
    print(matrix.table(results), end="")
    return int(failed > 0)


def suite_of(boots, arguments):
    results = []
    for boot in boots:
        try:
            with boot as machine:
                for topic in arguments.topics:
                    machine.note(topic)
                    for trial, right, why in suite.run(machine, topic):
                        results.append((boot.kernel, topic, trial, right, why))
                        if not right:
                            machine.note(f"{trial}: {why}")
        except Lost as lost:
            results.append((boot.kernel, "boot", str(lost), False, ""))
    print(suite.table(results), end="")
    return int(not all(right for *_, right, _ in results))
