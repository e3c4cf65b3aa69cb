"""Receive stamps by the NIC: beside the kernel's and in order; where there are none, that is said."""

from .checks import check
from .link import Refused
from .matrix import of_load

# What a load can have each NIC stamp, and whether it does as QEMU emulates it (hw/net/igb_core.c: PTP messages
# straight in Ethernet, one at a time; hw/net/e1000e_core.c: nothing).
FILTERS = {"igb": ("ptpv2-event", True), "e1000e": ("all", False)}
# The emulated 82576 stamps the next frame when RXSATRH (offset 0xb630) was read; Linux reads RXSTMPH.
LATCH = """
bar=$(head -1 /sys/class/net/nic0/device/resource | cut -d' ' -f1)
start latch ready sh -c "echo ready; while :; do busybox devmem $((bar + 0xb630)) >/dev/null || exit 1; done"
"""
PTP = ("--ethertype", "0x88f7", "-s", "128")


def loaded(link, *options):
    """A load of PTP messages with hardware stamps: its document, and what was wrong with it."""
    run = link.load("plain", *PTP, "--stamps", "hardware", "--breakdown", *options)
    fault = of_load(run)
    return run.document, run.words, [f"load {' '.join(options)}: {fault}"] if fault else []


@check("stamps")
def stamps(link):
    """hardware stamps beside the kernel's, in order; the NIC is set as before afterwards; or that there are none"""
    filter_, makes = FILTERS.get(link.machine.nic, (None, False))
    wrong = []
    try:
        with link.engine("--path", "ring-v2") as end:
            if makes:
                link.must(LATCH)
            for rx in ("mmsg", "v2", "v3"):
                document, words, faults = loaded(link, "--rx", rx)
                wrong += faults or of_stamps(rx, document, words, filter_, makes)
            if filter_:
                # Killed in the middle: the next load finds the setting as it was.
                link.start_load("plain", *PTP, "--stamps", "hardware", "-d", "60s")
                link.must("kill -9 $(cat /tmp/load.pid)\nuntil [ -e /tmp/load.code ]; do usleep 20000; done\nsleep 1")
                document, words, faults = loaded(link)
                wrong += faults
                before = document and document["stamps"]["filter_before"]
                wrong += [] if before == "none" else [f"after SIGKILL the filter is {before}"]
            if makes:
                # Other frames have the kernel's stamp, and the load says whose is missing.
                plain = link.load("plain", "--stamps", "hardware")
                stamped = plain.document.get("stamps", {})
                if stamped.get("stamped") != 0 or "WARNING: the NIC stamps no other frames" not in plain.words:
                    wrong.append(f"plain frames: {stamped}: {plain.words}")
                if link.machine.run("[ -e /tmp/latch.code ]").code == 0:
                    wrong.append(link.machine.run("await latch").err)
                link.must("finish latch || true")
            end()
    except Refused as refusal:
        return [f"echo: {refusal}"]
    return wrong


def of_stamps(rx, document, words, filter_, makes):
    found, intact = document["stamps"], document["frames"]["intact"]
    link_note = f"{rx}: {found}"
    if not filter_:
        said = found["by"] == "kernel" and "no hardware receive stamps" in found["missing"] and "NO HARDWARE" in words
        return [] if said else [link_note]
    wrong = []
    if (found["by"], found["filter"], found["filter_before"]) != ("hardware", filter_, "none"):
        wrong.append(link_note)
    if found["stamped"] + found["unstamped"] != intact or bool(found["stamped"]) != makes:
        wrong.append(f"{link_note}: of {intact} intact")
    if found["unstamped"] and "WARNING: the NIC" not in words:
        wrong.append(f"{rx}: nothing is said of {found['unstamped']} echoes without a stamp")
    both = document["nic_to_kernel_stamp_ns"]["count"]
    if both != (found["stamped"] if rx == "mmsg" else 0):
        wrong.append(f"{rx}: {both} echoes with both stamps: {found}")
    if both and not found["ordered"]:
        wrong.append(f"{rx}: the NIC's stamp is after the kernel's: {found}")
    if makes:
        # The kernel's stamp is on what the NIC did not stamp, or on all.
        kernel = document["until_kernel_stamp_ns"]["count"]
        wrong += [] if kernel == (intact if rx == "mmsg" else found["unstamped"]) else [f"{rx}: {kernel} by the kernel"]
    return wrong
