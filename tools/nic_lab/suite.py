"""The project's own tests of kernel facts (tests/namespaces) on other kernels: which hold there."""

import json
import re
import subprocess

# Topics whose trials ask the kernel; those that ask our programs for their words are not among them.
TOPICS = ("kernel", "xsk", "xdp", "fanout", "vlan", "udp", "links", "namespace", "vanish", "watch", "offloads", "mtu")
LINE = re.compile(r"^test (.+?)\s+\.\.\. (ok|FAILED|ignored)", re.MULTILINE)


def programs():
    """The suite and the program that it runs: path in the guest to path here, and the suite's name there."""
    build = ["cargo", "test", "--test", "namespaces", "--no-run", "--message-format=json"]
    made = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True)
    files = {}
    for line in made.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            files[message["target"]["name"]] = message["executable"]
    # The suite knows the program by the path that it had when it was built.
    return {"bin/namespaces": files["namespaces"], files["linerate"]: files["linerate"]}


def run(machine, topic, seconds=360):
    """Yields (trial, is it right, why not) of a topic, as the suite's own lines say it."""
    # A limit of its own, so that what went before one that hangs is known.
    done = machine.run(f"cd /tmp && timeout -s KILL {seconds - 60} namespaces '{topic}: ' '--skip=-{topic}: ' 2>&1", seconds)
    why = dict(re.findall(r"^---- (.+?) ----\n(.+)$", done.out, re.MULTILINE))
    for trial, verdict in LINE.findall(done.out):
        yield trial, verdict != "FAILED", why.get(trial, "") if verdict == "FAILED" else verdict
    if "test result:" not in done.out:
        yield f"{topic}: the rest", False, f"did not end within {seconds - 60} s"


def table(results):
    """Markdown: a row for a topic, a column for a kernel; what failed below."""
    kernels = list(dict.fromkeys(kernel for kernel, *_ in results))
    lines = [f"trials | {' | '.join(kernels)}", "---|" * len(kernels) + "---"]
    for topic in dict.fromkeys(topic for _, topic, *_ in results):
        cells = []
        for kernel in kernels:
            rights = [right for at, of, _, right, _ in results if (at, of) == (kernel, topic)]
            cells.append(f"{sum(rights)} of {len(rights)}")
        lines.append(f"`{topic}` | {' | '.join(cells)}")
    faults = [f"* {kernel}, {trial}: {why}" for kernel, _, trial, right, why in results if not right]
    return "\n".join([*lines, "", *faults]) + "\n"
