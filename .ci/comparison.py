"""Checks the JSON of a short `linerate compare`: what was asked for is there and nothing is wrong."""

import json
import sys

document = json.load(open(sys.argv[1]))
assert document["schema"] == "linerate.compare/2", document["schema"]
assert document["interrupted"] is False
assert document["host"]["cpus"] >= 1 and document["link"]["kind"] == "veth"
assert document["baseline"] == "syscall"
loads = ["flood", "drain", "ping", "window"]
assert document["loads"] == loads, document["loads"]
found = {(result["contestant"], result["frame_bytes"]) for result in document["results"]}
default = {"syscall", "mmsg", "ring", "ring-v2", "ring-xsk", "latency", "balanced"}
excluded = {one["contestant"]: one["reason"] for one in document["excluded"]}
able = default - set(excluded)
# What needs no more than packet sockets runs everywhere.
assert {"syscall", "ring", "ring-v2"} <= able and set(excluded) <= default, excluded
assert found == {(name, size) for name in able for size in (64, 1518)}, found
for result in document["results"]:
    name = f"{result['contestant']} {result['frame_bytes']}"
    assert result["verified"] > 0 and result["wrong"] == 0, name
    for load in loads:
        of_load = result["loads"][load]
        assert of_load["ratio_to_baseline"]["cpu_ns_per_echo"]["count"] == 2, (name, load)
        assert len(of_load["trials"]) == 2, (name, load)
        for trial in of_load["trials"]:
            assert trial["sent"] == trial["received"] + trial["lost"], (name, load)
            assert trial["corrupted"] == trial["duplicated"] == trial["not_transformed"] == 0, name
total = sum(result["verified"] for result in document["results"])
print(f"{len(found)} results, {total} echoes verified, none wrong; not run here: {excluded or 'none'}")
