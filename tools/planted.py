#!/usr/bin/env python3
"""Does `linerate diff` find a slowdown of some 8 %, and is it silent where there is none?

Builds the program twice, once with `--features planted-slowdown` (src/engine/planted.rs), runs short comparisons with
both in turn, and lets `diff` judge pairs of an old and a new run.

    tools/planted.py [--pairs 10] [--rounds 22]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

COMPARE = ["compare", "--paths", "syscall,ring-xsk", "--loads", "drain", "--sizes", "64"]


def build(into, *features):
    """The release program with these features."""
    subprocess.run(["cargo", "build", "--release", "--quiet", *features], check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], check=True, capture_output=True
    )
    target = json.loads(metadata.stdout)["target_directory"]
    return shutil.copy(os.path.join(target, "release", "linerate"), into)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=22)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        slow = build(os.path.join(scratch, "slow"), "--features", "planted-slowdown")
        equal = build(os.path.join(scratch, "equal"))

        def run(program, name):
            file = os.path.join(scratch, name + ".json")
            command = [program, *COMPARE, "--rounds", str(arguments.rounds), "--json", file]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return file

        def says_worse(old, new):
            ended = subprocess.run([equal, "diff", old, new], stdout=subprocess.PIPE, text=True)
            if ended.returncode not in (0, 3):
                sys.exit(f"diff ended with {ended.returncode}:\n{ended.stdout}")
            return ended.returncode == 3

        caught = silent = 0
        for pair in range(arguments.pairs):
            old = run(equal, f"old{pair}")
            caught += says_worse(old, run(slow, f"slow{pair}"))
            # Two pairs of equal programs.
            new, newer = run(equal, f"new{pair}"), run(equal, f"newer{pair}")
            silent += (not says_worse(old, new)) + (not says_worse(new, newer))
        print(f"slower: {caught} of {arguments.pairs} pairs caught")
        print(f"equal: silent in {silent} of {2 * arguments.pairs} pairs")
        sys.exit(0 if caught >= 0.9 * arguments.pairs and silent >= 1.9 * arguments.pairs else 1)


if __name__ == "__main__":
    main()
