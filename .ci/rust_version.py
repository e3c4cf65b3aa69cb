"""Checks that the package's rust-version is the largest of those that its dependencies ask for.

Development dependencies count too: `cargo test` is one of the two commands of the README.
"""

import json
import sys


def number(version):
    return tuple(int(part) for part in version.split(".")[:2])


metadata = json.load(open(sys.argv[1]))
packages = {package["id"]: package for package in metadata["packages"]}
root = metadata["resolve"]["root"]
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}


def used_on_linux(dependency):
    # What is only for other systems never compiles here.
    targets = [kind["target"] or "" for kind in dependency["dep_kinds"]]
    foreign = ("windows", "wasm", "macos", "apple", "wasi", "hermit", "redox", "android")
    return any(not any(word in target for word in foreign) or "not(" in target for target in targets)


reached, waiting = set(), [root]
while waiting:
    package = waiting.pop()
    if package not in reached:
        reached.add(package)
        waiting += [d["pkg"] for d in nodes[package]["deps"] if used_on_linux(d)]

own = packages[root]["rust_version"]
asked = {
    package["name"]: package["rust_version"]
    for package in (packages[i] for i in reached)
    if package["rust_version"] and package["source"]
}
most = max(asked.values(), key=number)
by = ", ".join(sorted(name for name, version in asked.items() if number(version) == number(most)))
print(f"rust-version {own}; the dependencies need {most} ({by})")
if number(own) < number(most):
    sys.exit(f"rust-version {own} promises too much: {by} need {most}")
