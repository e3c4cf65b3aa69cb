"""Checks the JSON of a short `linerate compare`: what was asked for is there and nothing is wrong."""

import json
import sys

document = json.load(open(sys.argv[1]))
assert document["schema"] == "linerate.compare/3", document["schema"]
assert document["interrupted"] is False
assert document["host"]["cpus"] >= 1 and document["link"]["kind"] == "veth"
assert document["baseline"] == "syscall"
loads = ["drain", "ping"]
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
        assert len(of_load["rounds"]) == 2, (name, load)
        for metric in of_load["metrics"].values():
            # Two rounds say nothing, and the document says so.
            assert metric["state"]["state"] == "cannot_tell", (name, load, metric)
        for turn in of_load["rounds"]:
            assert turn["sent"] == turn["received"] + turn["lost"], (name, load)
            assert turn["corrupted"] == turn["duplicated"] == turn["not_transformed"] == 0, name
total = sum(result["verified"] for result in document["results"])
print(f"{len(found)} results, {total} echoes verified, none wrong; not run here: {excluded or 'none'}")
