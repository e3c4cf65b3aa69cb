"""What is tried in a booted guest. A check returns what was wrong, and an empty list if nothing was."""

from dataclasses import dataclass
from typing import Callable

from .link import Refused, unbalanced
from .matrix import of_load


@dataclass(frozen=True)
class Check:
    run: Callable
    says: str
    kernels: tuple = ()
    nics: tuple = ()


CHECKS = {}


def check(name, **only):
    """Enters a function as a check; `only` names the kernels and NICs that it is for, if not all."""

    def enter(run):
        CHECKS[name] = Check(run, run.__doc__.strip().split("\n")[0], **only)
        return run

    return enter


def meant_for(name, boot):
    wanted = CHECKS[name]
    return boot.kernel in (wanted.kernels or (boot.kernel,)) and boot.nic in (wanted.nics or (boot.nic,))


def echoed(link, engine, *loads):
    """Runs loads, each a form with options, against an engine with these options: all intact, books balanced."""
    wrong = []
    try:
        with link.engine(*engine) as end:
            done = [link.load(*load) for load in loads]
            account = end()
    except Refused as refusal:
        return [f"echo {' '.join(engine)}: {refusal}"]
    for load, run in zip(loads, done):
        fault = of_load(run)
        wrong += [f"load {' '.join(load)}: {fault}"] if fault else []
    if account.code:
        wrong.append(f"echo ended with {account.code}: {account.reason()}")
    return wrong + unbalanced(account.document, *(run.document for run in done if run.document))


@check("echo")
def echo(link):
    """a hundred frames come back intact, by the path that echo chooses"""
    return echoed(link, (), ("plain",))


@check("zero-copy", kernels=("7.3",), nics=("igb",))
def zero_copy(link):
    """a hundred thousand frames by zero-copy AF_XDP, intact; afterwards the NIC receives as before"""
    wrong, frames = [], 100_000
    # The emulated cable loses what finds no room at its end, and counts it nowhere.
    link.must("ethtool -G nic0 rx 4096\ncarrier nic0")
    try:
        with link.engine("--path", "xdp") as end:
            run = link.load("plain", "--window", "32", "-n", str(frames), seconds=900)
            account = end()
    except Refused as refusal:
        return [f"echo --path xdp: {refusal}"]
    if "zero-copy" not in account.words:
        wrong.append("not zero-copy")
    intact = run.document.get("frames", {}).get("intact")
    if run.code or intact != frames:
        wrong.append(f"of {frames} frames {intact} came back intact: {of_load(run)}; {account.document.get('total')}")
    if account.code:
        wrong.append(f"echo ended with {account.code}: {account.reason()}")
    wrong += unbalanced(account.document, run.document) if run.document else []
    if "xdp" in link.must("ip -n far -d link show nic1"):
        wrong.append("the XDP program is still attached")
    return wrong + echoed(link, ("--path", "ring-v2"), ("plain",), ("udp4",))


@check("sizes")
def sizes(link):
    """every size from 60 to 1514 bytes, plain, tagged, and tagged twice"""
    wrong = []
    every = ("-s", "64-1518", "-n", "1455", "-r", "500")
    for path in ("ring", "ring-v2", "mmsg"):
        wrong += echoed(link, ("--path", path), ("plain", *every), ("vlan", *every))
    # Two tags pass a NIC's filter by the outer one, which no VLAN interface of ours asks for.
    twice = ("vlan", "--qinq-id", "200", *every)
    link.must("ip link set nic0 promisc on\nip -n far link set nic1 promisc on")
    wrong += echoed(link, ("--path", "ring-v2"), twice)
    link.must("ip link set nic0 promisc off\nip -n far link set nic1 promisc off")
    return wrong


BOTH = ("-i", "nic0", "--dut-interface", "nic1")


VLAN = "for n in 0 1; do ip link add link nic$n name vlan$n type vlan id 100; ip link set vlan$n up; done"


@check("commands")
def commands(link):
    """compare over every path, search, burst, stress and load with both NICs: exit code 0, nothing wrong"""
    wrong = []

    def runs(command, *options):
        run = link.command(command, *BOTH, *options, seconds=900)
        # A phase that stays void is this machine's doing, which has no time for the guest.
        ended = {phase.get("verdict") for phase in run.document.get("phases", [])}
        if run.code and not (run.code == 1 and "void" in ended):
            wrong.append(f"{command} ended with {run.code}: {run.words.strip()[-1500:]}")
        return run.document

    with link.together():
        runs("compare", "--paths", "all", "--rounds", "2", "--sizes", "64,1518")
        runs("search", "--sizes", "64", "--paths", "ring-v2", "--trial-duration", "300ms", "--max-duration", "20s")
        runs("burst", "--sizes", "64", "--paths", "ring-v2", "--max-frames", "500", "--repetitions", "3")
        runs("stress", "-d", "15s", "-r", "500")
        # By default skipped where a filter takes its frames.
        link.must(VLAN)
        phases = runs("stress", "-d", "3s", "-r", "500", "--phases", "vlan-on").get("phases", [])
        wrong += [f"vlan-on: {phase['reason']}" for phase in phases if phase["state"] != "run"]
        link.must("ip link del vlan0\nip link del vlan1")
        load = runs("load", "-r", "200", "-n", "200", "--path", "ring-v2")
        wrong += unbalanced(None, load) if load else []
    return wrong


@check("queues", nics=("igb",))
def queues(link):
    """each worker gets the frames of its receive queue; interrupts go to the workers' CPUs, and back"""
    wrong, far = [], "ip netns exec far"
    link.must(f"{far} ethtool -N nic1 rx-flow-hash udp4 sdfn")
    affinities = "grep -H . /proc/irq/*/smp_affinity_list"
    before = link.must(affinities)
    for irq in ("follow", "pin"):
        try:
            with link.engine("--path", "ring-v2", "-w", "queues", "--irq", irq) as end:
                run, during = link.load("udp4", "--flows", "16", "-n", "300"), link.must(affinities)
                account = end()
        except Refused as refusal:
            return [f"echo --irq {irq}: {refusal}"]
        if account.code:
            return [f"echo --irq {irq} ended with {account.code}: {account.reason()}"]
        echo = account.document
        received = {queue["queue"]: queue["received"] for queue in echo["queues"]["frames"]}
        for worker in echo["workers"]:
            # The driver also counts what the filter rejects, such as ARP; a frame may be on its way at either end.
            others = sum(received[queue] for queue in worker["queues"]) - worker["received"]
            if not worker["received"] or not -5 <= others < 30:
                wrong.append(f"worker of {worker['queues']}: {worker['received']}, the driver: {received}")
            for interrupt in echo["interrupts"]:
                if irq == "follow" and interrupt["receives"] and interrupt["queue"] in worker["queues"]:
                    wrong += [] if worker["cpu"] in interrupt["cpus"] else [f"{worker} is not at {interrupt}"]
                file = f"/proc/irq/{interrupt['number']}/smp_affinity_list:{worker['cpu']}"
                if irq == "pin" and interrupt["queue"] in worker["queues"] and file not in during.split():
                    wrong.append(f"{interrupt} is not at CPU {worker['cpu']}")
        fault = of_load(run)
        wrong += [f"load: {fault}"] if fault else []
    return wrong + ([] if link.must(affinities) == before else ["interrupts are not back"])
