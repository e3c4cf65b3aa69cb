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
