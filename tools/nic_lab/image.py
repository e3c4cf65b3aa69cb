"""The guest's initrd: busybox, programs with what they link, kernel modules; an archive made here, no tool needed."""

import lzma
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from .kernels import Unfit

HERE = Path(__file__).parent
# The NICs' drivers, what a check puts on them, and what the suite in namespaces makes.
MODULES = """igb e1000e virtio_pci virtio_net vmxnet3 veth 8021q bridge bonding macvlan dummy tun vxlan ifb team
    sch_ingress sch_netem sch_tbf sch_fq sch_fq_codel sch_prio sch_htb cls_bpf cls_u32 cls_matchall act_bpf act_mirred
    act_gact act_vlan act_skbedit""".split()
BUSYBOX = "/bin/busybox"


def initrd(kernel_folder, programs, files):
    """`programs`: paths here, each put into /bin with its libraries; `files`: path there to path here."""
    archive = Archive()
    for folder in ("dev", "proc", "sys", "tmp", "run", "root", "etc"):
        archive.folder(folder)
    archive.file("init", (HERE / "init.sh").read_bytes(), 0o755)
    archive.file("jobs.sh", (HERE / "jobs.sh").read_bytes())
    archive.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    archive.file("bin/busybox", static_busybox().read_bytes(), 0o755)
    put = {f"bin/{Path(program).name}": program for program in programs}
    for there, here in {**put, **files}.items():
        archive.file(there.lstrip("/"), Path(here).read_bytes(), 0o755)
        for library in libraries(here):
            archive.file(library.lstrip("/"), Path(library).read_bytes(), 0o755)
    add_modules(archive, kernel_folder / "modules")
    return archive.closed()


def static_busybox():
    if not os.path.exists(BUSYBOX) or b"ld-linux" in Path(BUSYBOX).read_bytes()[:4096]:
        raise Unfit("a static busybox is missing: apt-get install busybox-static")
    return Path(BUSYBOX)


def found(program):
    """The path of a program of this machine that the guest needs too."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        packages = {"ip": "iproute2", "tc": "iproute2", "qemu-system-x86_64": "qemu-system-x86 (of bookworm-backports)"}
        raise Unfit(f"{program} is missing: apt-get install --no-install-recommends {packages.get(program, program)}")
    return path


def libraries(program):
    listed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return re.findall(r"(/\S+) \(0x", listed.stdout)


def add_modules(archive, modules):
    """`MODULES` and what they need, with the tables by which modprobe finds them."""
    files = {module_name(path): path for path in modules.glob("kernel/**/*.ko*")}
    wanted, texts = [name for name in MODULES if name in files], {}
    while wanted:
        name = wanted.pop()
        if name not in texts and name in files:
            texts[name] = module_bytes(files[name])
            wanted += depends(texts[name])
    lines, aliases = [], []
    for name, text in texts.items():
        archive.file(f"modules/{name}.ko", text)
        # modprobe wants all that a module needs, in the order opposite to that of loading.
        lines.append(f"{name}.ko: {' '.join(f'{need}.ko' for need in needs(name, texts))}\n")
        aliases += [f"alias {alias} {name}\n" for alias in information(text, "alias")]
    archive.file("modules/modules.dep", "".join(lines).encode())
    archive.file("modules/modules.alias", "".join(aliases).encode())


def needs(name, texts):
    """Everything that `name` needs, the nearest first."""
    ordered = []
    for need in depends(texts[name]):
        if need in texts:
            chain = [need, *needs(need, texts)]
            ordered = [other for other in ordered if other not in chain] + chain
    return ordered


def module_name(path):
    return path.name.split(".ko")[0].replace("-", "_")


def module_bytes(path):
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def information(module, key):
    """The values of `key` in a module's .modinfo section."""
    return [value.decode() for value in re.findall(rb"\0" + key.encode() + rb"=([^\0]*)", module)]


def depends(module):
    return [name.replace("-", "_") for text in information(module, "depends")[:1] for name in text.split(",") if name]


class Archive:
    """A cpio archive of the "newc" kind (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self):
        self.parts, self.known = [], set()

    def folder(self, path):
        for parent in reversed([path, *map(str, Path(path).parents)][:-1]):
            if parent not in self.known:
                self._entry(parent, stat.S_IFDIR | 0o755, b"")

    def file(self, path, content, mode=0o644):
        if path not in self.known:
            self.folder(str(Path(path).parent))
            self._entry(path, stat.S_IFREG | mode, content)

    def closed(self):
        self._entry("TRAILER!!!", 0, b"")
        return b"".join(self.parts)

    def _entry(self, path, mode, content):
        self.known.add(path)
        name = path.encode() + b"\0"
        fields = (len(self.known), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.parts += [header, b"\0" * (-len(header) % 4), content, b"\0" * (-len(content) % 4)]
