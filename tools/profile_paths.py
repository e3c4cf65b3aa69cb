#!/usr/bin/env python3
"""Where each nanosecond of an echo goes, path by path: `perf record` around `linerate compare`.

    tools/profile_paths.py target/release/linerate [--size 64] [--tx xsk] [PATH ...]

Needs perf (linux-perf) and the right to profile the kernel (root, or kernel.perf_event_paranoid <= 1).
Samples of the engine's thread by CPU time (`cpu-clock`) are sorted by what their stack went through:

    own code    user space: block walk, decision, edit, bookkeeping, histogram
    send        below sendto or sendmmsg, up to the driver, without what follows
    peer        reception at the other end of the veth pair, which the sender's thread does
    receive     reception at the engine's end that this thread did, and receive calls
    rest        entering and leaving the kernel, epoll, interrupts

Each share is multiplied with the CPU time per echo that the same run printed.
"""
import argparse
import collections
import json
import subprocess
import tempfile

SENDS = ("__sys_sendto", "__sys_sendmmsg", "__sys_sendmsg", "__x64_sys_sendto", "__x64_sys_sendmmsg")
RECEIVES = ("__sys_recvfrom", "__sys_recvmmsg", "__sys_recvmsg", "___sys_recvmsg", "xsk_recvmsg")
RECEPTION = ("process_backlog", "__netif_receive_skb", "veth_poll", "net_rx_action")
THREAD = "linerate-0"
KINDS = ("own code", "send", "peer", "receive", "rest")


def kind(frames):
    """What a sample was doing; `frames` are (symbol, object) from the leaf up."""
    if not frames[0][1].startswith(("kernel", "[kernel", "[unknown")):
        return "own code"
    symbols = {symbol.split("+")[0] for symbol, _ in frames}
    sends = not symbols.isdisjoint(SENDS)
    if any(symbol.startswith(RECEPTION) for symbol in symbols):
        return "peer" if sends else "receive"
    if sends:
        return "send"
    return "receive" if not symbols.isdisjoint(RECEIVES) else "rest"


def samples(data):
    """The stacks of the engine's thread."""
    fields = ["perf", "script", "-i", data, "--comm", THREAD, "-F", "comm,ip,sym,dso"]
    script = subprocess.run(fields, capture_output=True, text=True, check=True).stdout
    frames = []
    for line in script.splitlines() + [""]:
        words = line.split()
        if not words:
            if frames:
                yield frames
            frames = []
        elif words[0] != THREAD:
            frames.append((words[1], words[-1].lstrip("(").removesuffix(")")))


def profile(binary, path, options):
    with tempfile.TemporaryDirectory() as folder:
        data, result = f"{folder}/perf.data", f"{folder}/result.json"
        compare = [binary, "compare", "--paths", path, "--loads", options.load, "--trials", "3"]
        compare += ["--trial-duration", "1s", "--sizes", str(options.size), "--tx", options.tx]
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "2000", "-g", "-o", data, "--"]
        subprocess.run(record + compare + ["--json", result], check=True, capture_output=True)
        with open(result, encoding="utf-8") as file:
            found = json.load(file)["results"][0]["loads"][options.load]
        cpu_ns = found["cpu_ns_per_echo"]["median"]
        kinds = collections.Counter(kind(frames) for frames in samples(data))
        return cpu_ns, kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--tx", default="xsk")
    parser.add_argument("--load", default="flood", choices=["flood", "window"])
    options = parser.parse_args()
    paths = options.paths or ["syscall", "mmsg", "ring", "ring-v2", "ring-mmsg", "ring-xsk", "ring-v2-xsk", "xdp"]
    print(f"{options.size} B, {options.load}: CPU ns of the engine's thread for each echo")
    print(f"{'path':<14}{'total':>8}" + "".join(f"{name:>10}" for name in KINDS) + f"{'samples':>10}")
    for path in paths:
        cpu_ns, kinds = profile(options.binary, path, options)
        total = kinds.total() or 1
        shares = "".join(f"{cpu_ns * kinds[name] / total:>10.0f}" for name in KINDS)
        print(f"{path:<14}{cpu_ns:>8.0f}{shares}{total:>10}")


if __name__ == "__main__":
    main()
