"""Checks the JSON of a short `linerate compare`: what was asked for is there and nothing is wrong."""

import json
import sys

document = json.load(open(sys.argv[1]))
assert document["schema"] == "linerate.compare/1", document["schema"]
assert document["interrupted"] is False
assert document["host"]["cpus"] >= 1 and document["link"]["kind"] == "veth"
found = {(result["path"], result["frame_bytes"]) for result in document["results"]}
asked = {(path, size) for path in ("ring", "ring-v2", "syscall") for size in (64, 1518)}
assert found == asked, found
for result in document["results"]:
    name = f"{result['path']} {result['frame_bytes']}"
    assert result["verified"] > 0 and result["wrong"] == 0, name
    assert result["ratio_to_syscall"] is not None, name
    assert len(result["trials"]) == 2, name
    for trial in result["trials"]:
        assert trial["sent"] == trial["received"] + trial["lost"], name
        assert trial["corrupted"] == trial["duplicated"] == trial["not_transformed"] == 0, name
total = sum(result["verified"] for result in document["results"])
print(f"{len(found)} results, {total} echoes verified, none wrong")
