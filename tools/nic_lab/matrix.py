"""Every path over a kernel and a NIC, with every form of frame: intact and accounted for, or why not."""

from .link import RETURNED, Refused, unbalanced

PATHS = ("syscall", "mmsg", "ring", "ring-mmsg", "ring-xsk", "ring-v2", "ring-v2-xsk", "latency", "xdp")
STANDARD, JUMBO = ("plain", "vlan", "udp4", "udp6"), ("jumbo",)


# What a path cannot do by design; README and RX-13 say so.
LIMITS = {("syscall", "vlan"): "recvfrom tells no tag, so tagged frames are not answered"}


def tried(link, paths):
    """Yields (path, form, verdict, is it right). Right are frames that come back, a refusal with a reason, a limit."""
    for mtu, forms in ((1500, STANDARD), (9000, JUMBO)):
        link.mtu(mtu)
        for path in paths:
            yield from of_path(link, path, forms)


def of_path(link, path, forms):
    options = {
        "latency": ("--profile", "latency"),
        # RSS spreads UDP over all queues, and one without a worker goes to the stack.
        "xdp": ("--path", "xdp", "--workers", "queues"),
    }.get(path, ("--path", path))
    try:
        with link.engine(*options) as end:
            loads = {form: link.load(form) for form in forms}
            engine = end()
    except Refused as refusal:
        for form in forms:
            yield path, form, str(refusal), True
        return
    documents = [load.document for load in loads.values() if load.document]
    wrong = unbalanced(engine.document, *documents)
    if engine.code:
        wrong.append(f"echo ended with {engine.code}: {engine.reason()}")
    for form, load in loads.items():
        limit = LIMITS.get((path, form))
        if limit and load.document and load.document["frames"]["lost"] == load.document["sent"]:
            yield path, form, limit, True
            continue
        fault = of_load(load)
        if fault and form in JUMBO and not link.jumbo_pings():
            yield path, form, "jumbo frames of the kernel's own ping are lost too: a fault of the emulated NIC", True
            continue
        if fault and engine.document:
            total = engine.document["total"]
            drops = "".join(f", {name} {count}" for name, count in total["drops"].items())
            fault += f"; the engine received {total['received']} and forwarded {total['forwarded']} of all forms{drops}"
        fault = fault or "; ".join(wrong)
        yield path, form, fault or f"ok{mode(engine)}", not fault


def of_load(load):
    """What is wrong with a load, or nothing."""
    if not load.document or load.code:
        return f"load ended with {load.code}: {load.reason()}"
    sent, frames = load.document["sent"], load.document["frames"]
    if sent != load.document["offered"]:
        return f"{load.document['offered'] - sent} of {load.document['offered']} not sent"
    if frames["intact"] != sent:
        kinds = [f"{frames[name]} {name.replace('_', ' ')}" for name in (*RETURNED[1:], "lost") if frames[name]]
        layers = [
            f"{stage['name']} {stage['frames']}"
            for stage in load.document["waterfall"]["stages"]
            if stage["frames"] and stage["name"] not in frames
        ]
        return f"of {sent} {', '.join(kinds)} ({', '.join(layers)})" if layers else f"of {sent} {', '.join(kinds)}"
    return None


def mode(engine):
    """How AF_XDP was bound, where it was."""
    modes = [word for word in ("zero-copy", "copy mode", "generic") if word in engine.words]
    return f" ({', '.join(modes)})" if modes else ""


def table(results):
    """Markdown: a row for a kernel, a NIC and a path, a column for a form; reasons as notes below."""
    forms = (*STANDARD, *JUMBO)
    notes, lines = [], [f"kernel | NIC | path | {' | '.join(forms)}", "---|" * (len(forms) + 2) + "---"]
    rows = {}
    for kernel, nic, path, form, verdict in results:
        rows.setdefault((kernel, nic, path), {})[form] = verdict
    for (kernel, nic, path), cells in rows.items():
        texts = []
        for form in forms:
            verdict = cells.get(form, "not tried")
            if not verdict.startswith("ok"):
                if verdict not in notes:
                    notes.append(verdict)
                verdict = f"no [{notes.index(verdict) + 1}]"
            texts.append(verdict)
        lines.append(f"{kernel} | {nic} | {path} | {' | '.join(texts)}")
    return "\n".join([*lines, "", *(f"[{number}] {note}  " for number, note in enumerate(notes, 1))]) + "\n"
