"""One boot: QEMU with two cabled NICs, jobs for the guest, and the cable."""

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import image, kernels

NICS = {"igb": "igb", "e1000e": "e1000e", "virtio-net": "virtio-net-pci", "vmxnet3": "vmxnet3"}
# The slow part is the emulation: no mitigations, no moving of the kernel, and the clock that the host has. A kernel that
# is checked for its timer while the host has no time for it panics.
COMMAND_LINE = "panic=-1 loglevel=4 mitigations=off nopti nokaslr tsc=reliable no_timer_check iomem=relaxed"


class Lost(Exception):
    """The guest ended, hung, or did not answer in time; the text says where its console is kept."""


@dataclass
class Done:
    """What a job in the guest came to."""

    code: int
    seconds: float
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


class Machine:
    """A guest; a context manager while it is booted. `seconds` bounds its whole life."""

    def __init__(self, kernel, nic, programs, files=None, seconds=3600, kvm=False):
        self.kernel, self.nic = kernel, nic
        self.programs, self.files = programs, files or {}
        self.seconds = seconds
        self.accelerator = ["kvm"] if kvm else ["tcg,thread=multi"]
        self.console = kernels.cache() / f"console-{kernel}-{nic}.log"
        self.received = b""

    def _command(self, scratch, append):
        folder = kernels.unpacked(kernels.KERNELS[self.kernel])
        initrd = Path(scratch) / "initrd"
        initrd.write_bytes(image.initrd(folder, self.programs, self.files))
        boot = next(path for path in (folder / "vmlinux", folder / "vmlinuz") if path.exists())
        command = [image.found("qemu-system-x86_64"), "-nodefaults", "-machine", "q35", "-accel", *self.accelerator]
        command += ["-cpu", "max,la57=off", "-smp", "2", "-m", "1G", "-display", "none", "-no-reboot"]
        for side in (0, 1):
            # A port of its own for each: two igb on one bus collide with their virtual functions.
            command += ["-device", f"pcie-root-port,id=port{side},chassis={side},slot={side}"]
            command += ["-netdev", f"hubport,hubid=0,id=end{side}"]
            command += ["-device", f"{NICS[self.nic]},id=nic{side},bus=port{side},netdev=end{side},mac={mac(side)}"]
        command += ["-kernel", str(boot), "-initrd", str(initrd), "-append", f"console=ttyS0 {COMMAND_LINE} {append}"]
        return command

    def shell(self):
        """For people: a shell of the guest in this terminal."""
        with tempfile.TemporaryDirectory(prefix="nic-lab-") as scratch:
            return subprocess.run([*self._command(scratch, "nic_lab.shell"), "-serial", "mon:stdio"]).returncode

    def __enter__(self):
        self.ends = time.monotonic() + self.seconds
        self.scratch = tempfile.TemporaryDirectory(prefix="nic-lab-")
        # Short names: the path of a socket has at most 107 bytes.
        jobs, monitor = (os.path.join(self.scratch.name, name) for name in ("jobs", "monitor"))
        serial = ["-serial", f"file:{self.console}"]
        serial += ["-chardev", f"socket,id=jobs,path={jobs},server=on,wait=on", "-serial", "chardev:jobs"]
        self.process = subprocess.Popen(
            [*self._command(self.scratch.name, ""), *serial, "-qmp", f"unix:{monitor},server=on,wait=off"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            self.port = self._connected(jobs)
            self.monitor = self._connected(monitor).makefile("rw")
            self._told("qmp_capabilities")
            self.booted = self._reply(self.ends)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.scratch.cleanup()

    def _connected(self, path):
        while True:
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(str(path))
                return end
            except OSError:
                end.close()
                if self.process.poll() is not None:
                    raise Lost(f"qemu: {self.process.stderr.read().decode().strip()}") from None
                time.sleep(0.05)

    def run(self, script, seconds=120):
        """Runs a shell script in the guest."""
        line = f"{seconds} {base64.b64encode(script.encode()).decode()}\n"
        # The terminal's buffer is 4096 bytes, and nobody waits for its reader.
        assert len(line) < 4000, "a job is too long for one line"
        self.port.sendall(line.encode())
        answer = self._reply(min(self.ends, time.monotonic() + 20 * seconds + 120))
        text = {name: gzip.decompress(base64.b64decode(answer[name])).decode(errors="replace") for name in ("out", "err")}
        done = Done(answer["code"], answer["to_s"] - answer["from_s"], **text)
        if done.seconds >= seconds:
            raise Lost(f"a job in the guest ran into its limit of {seconds} s:\n{script}\n{done.out}{done.err}")
        return done

    def note(self, text):
        """Tells people what is going on."""
        print(f"nic-lab: {self.kernel} {self.nic}: {text}", file=sys.stderr, flush=True)

    def cable(self, side, plugged):
        """Pulls the cable out of a NIC, or plugs it in."""
        self._told("set_link", name=f"nic{side}", up=plugged)

    def _told(self, command, **arguments):
        self.monitor.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.monitor.flush()
        for line in self.monitor:
            answer = json.loads(line)
            if "error" in answer:
                raise Lost(f"qemu: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return
        raise Lost("qemu ended")

    def _reply(self, ends):
        while b"\n" not in self.received:
            self.port.settimeout(max(ends - time.monotonic(), 0.001))
            try:
                part = self.port.recv(65536)
            except TimeoutError:
                part = None
            if not part:
                what = "ended" if part == b"" else "did not answer in time"
                raise Lost(f"the guest ({self.kernel}, {self.nic}) {what}; its console: {self.console}")
            self.received += part
        line, self.received = self.received.split(b"\n", 1)
        return json.loads(line)


def mac(side):
    return f"02:00:00:00:00:0{side + 1}"
