"""Traffic between the two NICs of a guest: nic0 sends from the first namespace, nic1 answers in `far`."""

import json
import shlex
from contextlib import contextmanager
from dataclasses import dataclass

from .machine import Lost, mac

# Two namespaces, so that UDP goes over the wire. Whatever is there already stays, so this mends what an event broke.
APART = """
ip netns add far 2>/dev/null || true
ip -n far link set lo up
end() {
    nic=$1 host=$2 in=$3
    ip $in link show vlan100 >/dev/null 2>&1 || ip $in link add link $nic name vlan100 type vlan id 100
    ip $in link set $nic up && ip $in link set vlan100 up
    ip $in addr replace 10.0.0.$host/24 dev $nic && ip $in addr replace fd00::$host/64 dev $nic nodad
}
! [ -e /sys/class/net/nic1 ] || ip link set nic1 netns far
end nic0 1
end nic1 2 "-n far"
carrier nic0 && carrier nic1 far || exit 1
"""
# One, as commands want it that have both ends.
TOGETHER = """
ip -n far link set nic1 netns 1 && ip netns del far
ip link del vlan100 && ip addr flush dev nic0
ip link set nic1 up
carrier nic0 && carrier nic1 || exit 1
"""
TARGETS = {
    "plain": ["--to", mac(1)],
    "vlan": ["--to", mac(1), "--vlan-id", "100"],
    "udp4": ["--to", "10.0.0.2:7", "-s", "128"],
    "udp6": ["--to", "[fd00::2]:7", "-s", "128"],
    "jumbo": ["--to", mac(1), "-s", "9018"],
}


@dataclass
class Run:
    """A finished command of linerate: its exit code, its document if it wrote one, its words."""

    code: int
    document: dict
    words: str

    def reason(self):
        """The last line of a refusal, which says what and why."""
        lines = [line for line in self.words.strip().splitlines() if not line.startswith(" ")]
        return lines[-1] if lines else f"exit code {self.code}"


def run_of(done):
    return Run(done.code, json.loads(done.out) if done.out.strip().startswith("{") else {}, done.err)


class Link:
    """The two NICs of a booted machine, ready for traffic."""

    def __init__(self, machine):
        self.machine = machine
        self.apart()

    def apart(self):
        """Puts both NICs where they belong, with their addresses and a VLAN."""
        self.must(APART)

    def must(self, script, seconds=120):
        done = self.machine.run(f"set -e\n{script}", seconds)
        if done.code:
            raise Lost(f"set-up in the guest ended with {done.code}: {done.err.strip()}")
        return done.out

    @contextmanager
    def together(self):
        """Both NICs in one namespace for a while."""
        self.must(TOGETHER)
        try:
            yield
        finally:
            self.apart()

    def mtu(self, bytes_):
        """Some drivers reset the NIC for it."""
        self.must(
            f"ip link set nic0 mtu {bytes_}\nip -n far link set nic1 mtu {bytes_}\ncarrier nic0 && carrier nic1 far"
        )

    def jumbo_pings(self):
        """Whether the kernel's own jumbo frames pass."""
        return self.machine.run("ping -c 3 -W 2 -s 8900 10.0.0.2").code == 0

    def start_engine(self, *options):
        """Starts an engine on nic1; its refusal, or None."""
        # An XDP program sees no tag that the NIC took off: echo refuses a NIC that does while a VLAN is let through.
        strips = "off" if "xdp" in options else "on"
        self.must(
            f"ip netns exec far ethtool -K nic1 rxvlan {strips} 2>/dev/null || true\ncarrier nic0 && carrier nic1 far"
        )
        command = ["linerate", "echo", "-i", "nic1", "--ethertype", "0x88b5,0x88f7,ip,ipv6", "--reply", "udp"]
        command += ["--json", "/tmp/echo.json", *options]
        done = self.machine.run(
            f"start echo '^  latency' /bin/ip netns exec far {shlex.join(command)}\n! [ -e /tmp/echo.code ] || await echo"
        )
        return run_of(done) if done.code else None

    def end_engine(self):
        return run_of(self.machine.run("finish echo"))

    @contextmanager
    def engine(self, *options):
        """An engine for a while: yields a function that ends it and gives its account."""
        refusal = self.start_engine(*options)
        if refusal:
            raise Refused(refusal)
        ended = []

        def end():
            ended.append(self.end_engine())
            return ended[0]

        try:
            yield end
        finally:
            if not ended:
                end()

    def load(self, form, *options, seconds=120):
        """A load from nic0, of 100 frames if the options do not say otherwise."""
        return run_of(self.machine.run(f"start load '^never$' {load_command(form, options)}\nawait load", seconds))

    def start_load(self, form, *options):
        """Starts one, and returns when frames go."""
        self.must(
            f"""
sent() {{ cat /sys/class/net/nic0/statistics/tx_packets; }}
before=$(sent)
start load ^ {load_command(form, options)}
until [ $(sent) -gt $((before + 20)) ] || [ -e /tmp/load.code ]; do usleep 20000; done
"""
        )

    def end_load(self, seconds=120):
        """Waits for its end."""
        return run_of(self.machine.run("await load", seconds))

    def command(self, *words, seconds=300):
        """Any command of linerate that writes JSON."""
        line = shlex.join(["linerate", *words, "--json", "/tmp/command.json"])
        return run_of(self.machine.run(f"start command '^never$' {line}\nawait command", seconds))


def load_command(form, options):
    command = ["linerate", "load", "-i", "nic0", *TARGETS[form], "--warmup", "0s", "--drain", "10s", *options]
    if not {"-n", "-d"} & set(options):
        command += ["-n", "100"]
    if not {"-r", "--window"} & set(options):
        command += ["-r", "200"]
    return f"{shlex.join(command)} --json /tmp/load.json"


class Refused(Exception):
    """The engine did not start."""

    def __init__(self, run):
        super().__init__(run.reason())


RETURNED = ("intact", "corrupted", "not_transformed", "truncated")


def unbalanced(engine, *loads):
    """What does not add up in the accounts of an engine and of the loads that it answered; empty if all does."""
    wrong = []
    for load in loads:
        for part in (load, load["warm_up"]):
            back = sum(part["frames"][name] for name in RETURNED) + part["frames"]["lost"]
            if part["sent"] != back:
                wrong.append(f"sent {part['sent']}, but returned and lost {back}")
        if load["offered"] != load["sent"] + load["unsent_late"] + load["unsent_refused"]:
            wrong.append(f"offered {load['offered']} is not sent, late and refused")
        if load["waterfall"]["unexplained"]:
            wrong.append(f"{load['waterfall']['unexplained']} frames unexplained by the load")
    if not engine:
        return wrong
    total = engine["total"]
    drops = sum(total["drops"].values())
    if total["received"] != total["forwarded"] + drops or total["unexplained"]:
        wrong.append(f"received {total['received']}, forwarded {total['forwarded']}, dropped {drops}")
    kernel = total["kernel"]
    if kernel["packets"] != total["received"] + kernel["drops"]:
        wrong.append(f"kernel: {kernel['packets']} packets, {kernel['drops']} drops, received {total['received']}")
    back = sum(part["frames"][name] for load in loads for part in (load, load["warm_up"]) for name in RETURNED)
    if total["forwarded"] < back:
        wrong.append(f"forwarded {total['forwarded']}, but {back} came back")
    return wrong
