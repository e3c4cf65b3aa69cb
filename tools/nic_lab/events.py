"""What happens to a NIC while frames go over it: the books stay balanced, and the link works afterwards."""

import sys
from dataclasses import dataclass

from .checks import BOTH, check, echoed
from .link import Refused, unbalanced


@dataclass(frozen=True)
class Event:
    """A shell script, or None for the cable. `down`: the link has to be seen down; `gone`: the interface to be gone."""

    script: str
    down: bool = False
    gone: bool = False


# A script's words: `$nic`, in the namespace of `inside`, and `back`, until it has a link.
SIDES = {
    "nic0": 'nic=nic0\ninside() { "$@"; }\nback() { carrier $nic; }\n',
    "nic1": 'nic=nic1\ninside() { ip netns exec far "$@"; }\nback() { carrier $nic far; }\n',
}
CABLE_OUT = "until inside ip -br link show $nic | grep -q NO-CARRIER; do usleep 50000; done\nsleep 1"
TO_DRIVER_AND_BACK = """
address=$(inside cat /sys/class/net/$nic/address)
device=$(inside readlink -f /sys/class/net/$nic/device)
driver=$(inside readlink -f $device/driver)
echo ${device##*/} >$driver/unbind
sleep 1
echo ${device##*/} >$driver/bind
until files=$(grep -l $address /sys/class/net/*/address); do usleep 50000; done
for file in $files; do name=$(basename $(dirname $file)); done
[ $name = $nic ] || ip link set $name name $nic
"""
EVENTS = {
    "cable": Event(None, down=True),
    "down and up": Event("inside ip link set $nic down\nsleep 1\ninside ip link set $nic up\nback", down=True),
    "MTU": Event("for m in 1400 1500; do inside ip link set $nic mtu $m; back; sleep 1; done"),
    "rings": Event("for n in 128 256; do inside ethtool -G $nic rx $n tx $n; back; sleep 1; done"),
    "queues": Event("for n in 1 2; do inside ethtool -L $nic combined $n; back; sleep 1; done"),
    "offloads": Event(
        "for s in off on; do for o in rxvlan txvlan rx tx gro; do inside ethtool -K $nic $o $s 2>/dev/null || true;"
        " done; back; sleep 1; done"
    ),
    "rename": Event(
        "inside ip link set $nic down\ninside ip link set $nic name other\ninside ip link set other up\nsleep 1\n"
        "inside ip link set other down\ninside ip link set other name $nic\ninside ip link set $nic up\nback",
        down=True,
    ),
    "driver unbound": Event(TO_DRIVER_AND_BACK, gone=True),
    "moved away": Event(
        "ip netns add elsewhere\ninside ip link set $nic netns elsewhere\nsleep 1\n"
        "ip -n elsewhere link set $nic netns 1\nip netns del elsewhere",
        gone=True,
    ),
}

# Those that are tried.
wanted = [*EVENTS]


def happens(link, event, nic):
    """Has it happen; what went wrong with that."""
    if event.script:
        done = link.machine.run(f"set -e\n{SIDES[nic]}{event.script}")
        return [f"the event ended with {done.code}: {done.err.strip()}"] if done.code else []
    side = int(nic[-1])
    link.machine.cable(side, False)
    link.must(SIDES[nic] + CABLE_OUT)
    link.machine.cable(side, True)
    link.must(SIDES[nic] + "back")
    return []


def during(link, name, nic, path):
    """One event at one NIC during a load: nic0 is the load's, nic1 the engine's."""
    event, wrong = EVENTS[name], []
    link.machine.note(f"{name} of {nic}, {path}")
    try:
        with link.engine("--path", path) as end:
            link.start_load("plain", "-d", "6s")
            wrong += happens(link, event, nic)
            run = link.end_load()
            account = end()
    except Refused as refusal:
        return [f"{name}: echo --path {path}: {refusal}"]
    link.apart()
    document = account.document
    for program, done, at in (("load", run, "nic0"), ("echo", account, "nic1")):
        gone = event.gone and nic == at
        if not done.document:
            wrong.append(f"{program} ended with {done.code} and without a document: {done.words}")
        elif gone and (done.code != 1 or nic not in gone_by(done)):
            wrong.append(f"its interface is gone, but {program} ended with {done.code}: {gone_by(done)}")
        elif gone and done.document.get("generator_limited"):
            wrong.append(f"its interface is gone, which is no limit of the generator: {done.document['generator_limited']}")
        elif not gone and done.code:
            wrong.append(f"{program} ended with {done.code}: {done.reason()}")
    wrong += unbalanced(document, run.document) if document and run.document else []
    if document and not document["total"]["forwarded"]:
        wrong.append("no frame was answered")
    if document and event.down and nic == "nic1" and not document["link_downs"]:
        wrong.append("echo saw no link go down")
    wrong += [f"afterwards: {fault}" for fault in echoed(link, ("--path", path), ("plain",))]
    return [f"{name} of {nic}, {path}: {fault}" for fault in wrong]


def gone_by(done):
    """What a command said of the end of its interface: a load in its document, an echo in a line."""
    lines = [line for line in done.words.splitlines() if "gone" in line]
    return done.document.get("reason") or " ".join(lines)


def possible(link, name):
    """Whether the driver can do it: it does, or says that nothing is to change."""
    asks = {"queues": "ethtool -L nic0 combined 2", "rings": "ethtool -G nic0 rx 256"}
    if name not in asks:
        return True
    done = link.machine.run(f"{asks[name]} 2>&1")
    return not done.code or "unmodified" in done.out


def all_of(link, path):
    names = [name for name in wanted if possible(link, name)]
    return [fault for name in names for nic in SIDES for fault in during(link, name, nic, path)]


@check("events")
def events(link):
    """cable, down and up, MTU, rings, queues, offloads, rename, unbind, another namespace, while an echo runs"""
    return all_of(link, "ring-v2")


@check("events-xdp", nics=("igb", "virtio-net"))
def events_xdp(link):
    """the same with AF_XDP both ways"""
    return all_of(link, "xdp")


@check("recovery")
def recovery(link):
    """stress with every event at nic1: each happens or is refused by name, frames come back, nothing is left changed"""
    names = "link-down,peer-gone,mtu,channels,rings,offloads,promiscuous,address,fanout,xdp"
    with link.together():
        run = link.command("stress", *BOTH, "-r", "200", "--phases", names, seconds=1800)
    wrong = [] if run.document else [f"stress ended with {run.code}: {run.words.strip()[-1500:]}"]
    for phase in run.document.get("phases", []):
        print(f"nic-lab: {phase['name']}: {told(phase)}", file=sys.stderr, flush=True)
        if phase.get("verdict") == "fail" or phase["state"] == "not_reached":
            wrong.append(f"{phase['name']}: {told(phase)}")
    if run.document.get("left"):
        wrong.append(f"left changed: {run.document['left']}")
    return wrong


def told(phase):
    """A phase in a line: its verdict, and the recovery time and the loss of each step."""
    event = phase.get("event")
    if not event:
        return phase.get("reason") or phase["state"]
    steps = [step for step in (event["apply"], event["undo"]) if step]
    time = [f"{step['recovery_ns'] / 1e6:.1f} ms" if step["recovery_ns"] is not None else "-" for step in steps]
    lost = sum(step["lost"] for step in steps) + event["lost_otherwise"]
    return f"{phase['verdict']}, recovery {', '.join(time)}, lost {lost} of {phase['sent']} {phase['faults'] or ''}".strip()
