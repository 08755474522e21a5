"""Stands where a host's Python should be and says what no agent would. Runs on a host, by /usr/bin/python3 alone."""

from __future__ import annotations

import json
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator

HEAD = struct.Struct(">IIBBxxQQ")  # size, stream, channel, flags, seq, ack
MAGIC = b"\0cloudml/1\n"
STDOUT, EXITED, RPC, HELLO = 4, 6, 17, 18
WHOLE, MORE = 3, 0
MEGABYTE = b"x" * (1 << 20)


def record(
    channel: int, data: bytes, *, stream: int = 0, flags: int = WHOLE, seq: int = 0, ack: int = 0
) -> bytes:
    return HEAD.pack(len(data), stream, channel, flags, seq, ack) + data


def hello(**more: object) -> bytes:
    info = {
        "version": 1,
        "epoch": "e",
        "pid": 1,
        "hostname": "h",
        "user": "u",
        "home": "/",
        "platform": "linux",
    }
    return MAGIC + record(
        HELLO, json.dumps({**info, "cpus": 1, "memory_bytes": 1, "gpus": [], **more}).encode()
    )


def deep(depth: int = 100_000) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def noise() -> Iterator[bytes]:
    for _ in range(1024):
        yield MEGABYTE


def no_word_of_an_agent() -> Iterator[bytes]:
    for _ in range(100):
        yield MEGABYTE


def deep_hello() -> Iterator[bytes]:
    yield MAGIC + record(HELLO, deep())


def deep_answer() -> Iterator[bytes]:
    yield hello() + record(RPC, deep())


def endless_message() -> Iterator[bytes]:
    yield hello()
    for _ in range(1024):
        yield record(RPC, MEGABYTE, flags=MORE)


def many_small_objects() -> Iterator[bytes]:
    yield hello()
    text = (
        b'{"id":1,"result":[' + b"{}," * 2_700_000 + b"{}]}"
    )  # close to the largest message that is read
    for at in range(0, len(text), 1 << 20):
        flags = 1 * (at == 0) | 2 * (at + (1 << 20) >= len(text))
        yield record(RPC, text[at : at + (1 << 20)], flags=flags)


def huge_record() -> Iterator[bytes]:
    yield hello() + HEAD.pack(2**32 - 1, 0, RPC, WHOLE, 0, 0)
    yield from noise()


def wrong_frames() -> Iterator[bytes]:
    dice = random.Random(1)
    yield hello()
    for _ in range(20_000):
        yield record(
            dice.choice([0, 1, 2, 3, 4, 5, 6, 7, 16, 99, 255]),
            dice.randbytes(dice.randrange(40)),
            stream=dice.choice([0, 1, 2, 2**32 - 1]),
            flags=dice.randrange(256),
            seq=dice.choice([0, 1, 2**64 - 1]),
            ack=dice.choice([0, 1, 2**64 - 1]),
        )


def wrong_answers() -> Iterator[bytes]:
    yield hello(hostname=["x"] * 1000, gpus="none", cpus=-1, user={"a": 1})
    for text in (
        b'{"id":1,"error":5}',
        b'{"id":[1]}',
        b'{"id":1e999,"result":1}',
        b'{"detached":{}}',
        b"{}",
    ):
        yield record(RPC, text)


def no_object() -> Iterator[bytes]:
    yield hello() + record(RPC, b"[1]")


def no_text() -> Iterator[bytes]:
    yield hello() + record(RPC, b"\xff\xfe\x00")


def other_version() -> Iterator[bytes]:
    yield hello(version={"much": "x" * 1_000_000})


def cut_short() -> Iterator[bytes]:
    yield hello() + record(RPC, MEGABYTE)[:5000]


def with_process(says: Callable[[], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
    """Answer whatever is asked as if it were `attach`, then let the process say something."""

    def mode() -> Iterator[bytes]:
        yield hello()
        for number in range(1, 4):
            yield record(
                RPC,
                json.dumps({"id": number, "result": {"number": 7, "taken": 0, "id": "p"}}).encode(),
            )
        yield from says()

    return mode


def gigabyte() -> Iterator[bytes]:
    for seq in range(1, 1025):
        yield record(STDOUT, MEGABYTE, stream=7, seq=seq)


def deep_end() -> Iterator[bytes]:
    yield record(EXITED, deep(), stream=7, seq=1)


def broken_end() -> Iterator[bytes]:
    yield record(EXITED, b"\xff", stream=7, seq=1)


def never_ending_message() -> Iterator[bytes]:
    for seq in range(1, 513):
        yield record(3, MEGABYTE, stream=7, seq=seq, flags=MORE)


MODES: dict[str, Callable[[], Iterator[bytes]]] = {
    mode.__name__: mode
    for mode in (noise, deep_hello, deep_answer, endless_message, many_small_objects, huge_record, wrong_frames,
                 wrong_answers, no_object, no_text, other_version, cut_short)
}  # fmt: skip
MODES |= {
    says.__name__: with_process(says)
    for says in (gigabyte, deep_end, broken_end, never_ending_message)
}

if __name__ == "__main__":
    for data in MODES[sys.argv[1]]():
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
    while os.read(0, 65536):  # until the other end has had enough
        pass
