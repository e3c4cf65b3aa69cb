"""Debian's kernels: pinned packages, fetched, verified, unpacked into a cache; nothing is installed."""

import hashlib
import lzma
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bookworm", "bookworm-backports", "trixie-backports")


class Unfit(Exception):
    """This machine lacks something; the text says what to do."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Kernel:
    short: str
    packages: tuple


KERNELS = {
    kernel.short: kernel
    for kernel in (
        Kernel(
            "6.1",
            (
                Package(
                    "linux-image-6.1.0-50-amd64",
                    "6.1.176-1",
                    "7b5597492a0a65aee61985a492e6bcc3f2cde830072a0e3b3d8c7e1b90279bd3",
                ),
            ),
        ),
        Kernel(
            "6.12",
            (
                Package(
                    "linux-image-6.12.95+deb12-amd64",
                    "6.12.95-1~bpo12+1",
                    "5e524b782be67cb0d6a2e7b51816a2ac519e573ef7324b9a63a4124365653ecc",
                ),
            ),
        ),
        Kernel(
            "7.3",
            (
                Package(
                    "linux-binary-7.3.4+deb13-amd64",
                    "7.3.4-1~bpo13+1",
                    "7e3248d03a84dcdda88c567aa8c4038f2e7795d2dd167b112c56f8901b6f513f",
                ),
                Package(
                    "linux-modules-7.3.4+deb13-amd64",
                    "7.3.4-1~bpo13+1",
                    "b3ea01922c9f133767a83cf6891c19b3693858ded617bf22d1e34f95382c08ea",
                ),
            ),
        ),
    )
}


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = Path(base) / "linerate-nic-lab"
    path.mkdir(parents=True, exist_ok=True)
    return path


def unpacked(kernel):
    """The folder of a kernel: `vmlinux` (or `vmlinuz`, if nothing here can unpack it) and `modules`."""
    folder = cache() / kernel.short
    stamp = folder / "made-from"
    wanted = "".join(f"{package.sha256}\n" for package in kernel.packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for package in kernel.packages:
        subprocess.run(["dpkg-deb", "-x", fetched(package), folder / "root"], check=True)
    [image] = list(folder.glob("root/boot/vmlinuz-*")) + list(folder.glob("root/usr/lib/modules/*/vmlinuz"))
    # The boot loader's part would unpack it under emulation: a minute on a slow machine.
    elf = unpacked_image(image.read_bytes())
    (folder / ("vmlinux" if elf else "vmlinuz")).write_bytes(elf or image.read_bytes())
    [modules] = list(folder.glob("root/lib/modules/*")) + list(folder.glob("root/usr/lib/modules/*"))
    modules.rename(folder / "modules")
    shutil.rmtree(folder / "root")
    stamp.write_text(wanted)
    return folder


def unpacked_image(image):
    """The kernel within a bzImage (Documentation/arch/x86/boot.rst), or None."""
    begin = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    payload = image[begin : begin + int.from_bytes(image[0x24C:0x250], "little")]
    if payload.startswith(b"\xfd7zXZ\0"):
        elf = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd") and shutil.which("zstd"):
        # The size that follows the stream is trailing rubbish to zstd, which says so after the kernel.
        done = subprocess.run(["zstd", "-dcq"], input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        elf = done.stdout
    else:
        return None
    return elf if elf.startswith(b"\x7fELF") else None


def fetched(package):
    """The package's file, by the means of apt but with sources and lists of our own."""
    folder = cache() / "packages"
    folder.mkdir(exist_ok=True)
    file = folder / f"{package.name}_{package.version.replace(':', '%3a')}_amd64.deb"
    if not file.exists():
        print(f"nic-lab: fetching {file.name}", file=sys.stderr)
        with Apt(cache() / "apt") as apt:
            apt.download(package, folder)
    if hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        raise Unfit(f"{file} is not what tools/nic_lab/kernels.py names by its SHA-256: remove it and try again")
    return file


class Apt:
    """apt-get with a folder of its own; the machine's sources only name the mirror."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        (self.folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (self.folder / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        sources = self.folder / "sources.list"
        mirror = debian_mirror()
        sources.write_text("".join(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in SUITES))
        options = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": self.folder / "lists",
            "Dir::Cache": self.folder,
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
        }
        self.command = ["apt-get", "-q", *(part for item in options.items() for part in ("-o", "%s=%s" % item))]
        self._run("update", cwd=self.folder)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def download(self, package, into):
        self._run("download", f"{package.name}={package.version}", cwd=into)

    def _run(self, *arguments, cwd):
        done = subprocess.run([*self.command, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise Unfit(f"apt-get {' '.join(arguments)}:\n{done.stdout.decode()}")


def debian_mirror():
    """The mirror of this machine, as its own sources of packages name it."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in listed.stdout.splitlines():
        mirror, origin, label = line.split(" ", 2)
        if (origin, label) == ("Debian", "Debian"):
            return mirror
    raise Unfit("the lists of packages are missing: run apt-get update (nic-lab needs Debian's packages)")
