#!/usr/bin/env python3
"""Send lower-case frames to an echo engine and check that they come back upper-cased.

An independent client: it shares no code with linerate. Needs CAP_NET_RAW (root).

    sudo tools/echo_client.py --interface eth1 --mac 02:00:00:00:00:02

Ends with status 0 if every frame came back right and in order, else with 1.
"""

import argparse
import socket
import string
import struct
import sys
import time

HEADER_BYTES = 14
PACKET_OUTGOING = 4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interface", required=True, help="the interface to send from")
    parser.add_argument("--mac", required=True, help="the hardware address of the engine")
    parser.add_argument("--ethertype", type=lambda text: int(text, 0), default=0x88B5)
    parser.add_argument("--count", type=int, default=100, help="frames to send (default 100)")
    parser.add_argument("--size", type=int, default=60, help="frame size without FCS, 60 to 1514")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds to wait for an answer")
    return parser.parse_args()


def payload(number, length):
    """Text that shows its number and has every letter; bytes beyond ASCII must stay as they are."""
    text = f"{number:08d} {string.ascii_lowercase} \u00e4\u00f6\u00fc\u00df ".encode("latin-1")
    return (text * (length // len(text) + 1))[:length]


def exchange(link, frame, expected, timeout):
    """Whether the answer to `frame` is `expected`; None if nothing came in time."""
    link.send(frame)
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            answer, address = link.recvfrom(65536)
        except TimeoutError:
            return None
        if address[2] != PACKET_OUTGOING:
            return answer == expected
    return None


def main():
    options = arguments()
    engine = bytes.fromhex(options.mac.replace(":", ""))
    right = wrong = lost = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
        link.bind((options.interface, options.ethertype))
        own = link.getsockname()[4]
        ether_type = struct.pack("!H", options.ethertype)
        for number in range(options.count):
            text = payload(number, options.size - HEADER_BYTES)
            frame = engine + own + ether_type + text
            # bytes.upper() changes a to z only.
            result = exchange(link, frame, own + engine + ether_type + text.upper(), options.timeout)
            right += result is True
            wrong += result is False
            lost += result is None
    print(f"sent {options.count}, right {right}, wrong {wrong}, lost {lost}")
    return 0 if right == options.count else 1


if __name__ == "__main__":
    sys.exit(main())
