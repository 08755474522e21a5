"""The journal: bounded, in order, whole after the agent's death, and open about what it had to drop."""

from __future__ import annotations

from pathlib import Path

import pytest
from disks import small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_cloudml.agent import messages, zmtp
from jupyter_cloudml.agent.journal import Journal
from jupyter_cloudml.agent.protocol import (
    ABORT,
    BEGINS,
    ENDS,
    HEAD,
    IOPUB,
    SHELL,
    STDOUT,
    WHOLE,
    Record,
)

KEY = b"key"


def seqs_and_data(journal: Journal) -> list[tuple[int, bytes]]:
    """Everything that waits, taken as a client would."""
    found = []
    while (record := journal.next()) is not None:
        found.append((HEAD.unpack_from(record)[4], record[HEAD.size :]))
    return found


def small(folder: Path) -> Journal:
    """A journal with limits that a test reaches."""
    return Journal(folder, 1, memory_limit=2000, disk_limit=1 << 20, segment=1000)


def test_records_come_in_order_however_much_waits(tmp_path: Path) -> None:
    journal = small(tmp_path)
    for number in range(500):
        journal.append(STDOUT, WHOLE, b"%d" % number, 0)
    assert journal.unsent_bytes <= 2000 + HEAD.size + 3
    assert seqs_and_data(journal) == [(n + 1, b"%d" % n) for n in range(500)]


def test_what_is_acknowledged_leaves_memory_and_disk(tmp_path: Path) -> None:
    journal = small(tmp_path)
    for number in range(500):
        journal.append(STDOUT, WHOLE, b"%d" % number, 0)
    seqs_and_data(journal)
    journal.take_ack(500)
    assert journal.unacked_bytes == 0
    assert len(list(tmp_path.glob("journal-*"))) == 1


def test_a_client_that_comes_back_gets_what_it_lacks(tmp_path: Path) -> None:
    journal = small(tmp_path)
    for number in range(100):
        journal.append(STDOUT, WHOLE, b"%d" % number, 0)
    for _ in range(60):
        journal.next()
    journal.rewind(50)
    assert [seq for seq, _ in seqs_and_data(journal)] == list(range(51, 101))


def test_an_agent_after_this_one_finds_all_of_it(tmp_path: Path) -> None:
    journal = small(tmp_path)
    for number in range(200):
        journal.append(STDOUT, WHOLE, b"%d" % number, 0)
    journal.take_ack(0)
    again = small(tmp_path)  # no close: the agent was killed
    assert again.seq == 200
    again.append(STDOUT, WHOLE, b"after", 0)
    again.rewind(150)
    assert seqs_and_data(again)[-1] == (201, b"after")
    assert journal.seq == 200


def test_a_record_that_was_half_written_is_cut_off(tmp_path: Path) -> None:
    journal = small(tmp_path)
    journal.append(STDOUT, WHOLE, b"good", 0)
    path = next(tmp_path.glob("journal-*"))
    with open(path, "ab") as file:
        file.write(HEAD.pack(100, 1, STDOUT, WHOLE, 2, 0) + b"half")
    again = small(tmp_path)
    again.append(STDOUT, WHOLE, b"next", 0)
    assert seqs_and_data(again) == [(1, b"good"), (2, b"next")]


def test_a_message_that_the_agent_died_in_is_declared_void(tmp_path: Path) -> None:
    small(tmp_path).append(IOPUB, BEGINS, b"half a message", 0)
    again = small(tmp_path)
    again.break_off(IOPUB)
    again.next()
    assert HEAD.unpack_from(again.next() or b"")[3] & ABORT


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["say", "send", "ack", "back", "die"]), max_size=80))
def test_nothing_is_lost_or_doubled_in_any_order_of_events(
    tmp_path_factory: pytest.TempPathFactory, events: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal, said, got = small(folder), 0, 0
    for event in [*events, "back"]:
        if event == "say":
            for _ in range(7):
                said += 1
                journal.append(STDOUT, WHOLE, b"x" * 100, 0)
        elif event == "send":
            record = journal.next()
            if record is not None:
                got += 1
                assert HEAD.unpack_from(record)[4] == got
        elif event == "ack":
            journal.take_ack(got)
        elif event == "die":
            journal.close()
            journal = small(folder)
            journal.rewind(got)
        else:
            journal.rewind(got)
    assert [seq for seq, _ in seqs_and_data(journal)] == list(range(got + 1, said + 1))
    journal.close()


def stream(text: str) -> bytes:
    """A stream message on IOPUB."""
    content = {"name": "stdout", "text": text}
    return messages.build(KEY, "stream", content, [b"stream"], {"msg_id": "cell"})


def kinds(records: list[Record]) -> list[str]:
    """The types of the messages in records."""
    return [
        messages.split(parts)[0]["msg_type"]
        for r in records
        for _, _, parts in zmtp.messages(r.data)
    ]


def test_a_full_journal_drops_the_oldest_stream_output_and_says_so(tmp_path: Path) -> None:
    journal = Journal(
        tmp_path,
        1,
        lambda records: messages.thin_kernel(records, KEY),
        memory_limit=1000,
        disk_limit=40_000,
        segment=5000,
    )
    result = messages.build(KEY, "execute_result", {"data": {"text/plain": "42"}}, [b"r"])
    journal.append(IOPUB, WHOLE, result, 0)
    for number in range(300):
        journal.append(IOPUB, WHOLE, stream(f"line {number}\n" * 20), 0)
    found = seqs_and_data(journal)
    texts = b"".join(data for _, data in found)
    assert b"42" in texts
    assert b"dropped here" in texts
    assert b"line 299" in texts
    assert b"line 3\\n" not in texts
    assert [seq for seq, _ in found] == sorted({seq for seq, _ in found})
    assert sum(s.size for s in journal.segments) < 60_000


def test_thinning_keeps_results_and_signs_its_notice() -> None:
    error = messages.build(KEY, "error", {"ename": "E"}, [b"e"], {"msg_id": "cell"})
    records = [
        Record(1, IOPUB, WHOLE, 1, 0, stream("a") + error),
        Record(1, IOPUB, WHOLE, 2, 0, stream("b")),
        Record(1, IOPUB, BEGINS, 3, 0, b"a piece"),
    ]
    kept = messages.thin_kernel(records, KEY)
    assert kinds(kept[:2]) == ["error", "stream"]
    assert kept[-1].data == b"a piece"
    ((_, _, parts),) = zmtp.messages(kept[1].data)
    assert parts[2] == messages.sign(KEY, parts[3:7])
    assert messages.split(parts)[1] == {"msg_id": "cell"}


def test_a_full_disk_keeps_the_newest_in_memory(tmp_path: Path) -> None:
    with small_disk(tmp_path, "64k"):
        journal = Journal(tmp_path, 1, memory_limit=4000, segment=1 << 20)
        for number in range(2000):
            journal.append(STDOUT, WHOLE, b"%060d" % number, 0)
        assert [seq for seq, _ in seqs_and_data(journal)] == list(range(1, 2001))
        journal.close()


def test_large_stream_messages_in_pieces_are_thinned_too() -> None:
    large = stream("x" * 1_000_000)
    pieces = [large[at : at + 300_000] for at in range(0, len(large), 300_000)]
    flags = [BEGINS, *[0] * (len(pieces) - 2), ENDS]
    records = [
        Record(1, IOPUB, flag, number + 1, 0, data)
        for number, (flag, data) in enumerate(zip(flags, pieces, strict=True))
    ]
    reply = Record(1, SHELL, WHOLE, 20, 0, b"a reply")
    unfinished = Record(1, IOPUB, BEGINS, 30, 0, b"a piece")
    kept = messages.thin_kernel([*records[:2], reply, *records[2:], unfinished], KEY)
    assert [r.seq for r in kept] == [len(pieces), 20, 30]
    assert b"1.0 MB of output dropped" in kept[0].data


def test_a_file_that_an_agent_opened_and_never_wrote_to_is_not_taken_for_the_next(
    tmp_path: Path,
) -> None:
    before = small(tmp_path)
    before.append(STDOUT, WHOLE, b"first", 0)
    before.close()
    (tmp_path / f"journal-{2:020d}").touch()
    journal = small(tmp_path)
    journal.append(STDOUT, WHOLE, b"second", 0)
    journal.take_ack(1)
    for number in range(100):
        journal.append(STDOUT, WHOLE, b"%d" % number, 0)
    assert [data for _, data in seqs_and_data(journal)][-101] == b"second"


def test_numbers_go_on_behind_what_a_client_had_and_the_disk_had_not(tmp_path: Path) -> None:
    before = small(tmp_path)
    before.append(STDOUT, WHOLE, b"written", 0)
    before.close()
    journal = small(tmp_path)
    journal.rewind(5)
    journal.append(STDOUT, WHOLE, b"new", 0)
    assert seqs_and_data(journal) == [(6, b"new")]
