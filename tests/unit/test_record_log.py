"""The raw record of a kernel on disk."""

from __future__ import annotations

import errno
import os
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from frames import Talk

from jupyter_cloudml.agent.protocol import IOPUB, WHOLE
from jupyter_cloudml_kernels.record_log import HEAD, MARK, SEGMENT, RecordLog


def recorded(log: RecordLog, after: int = 0) -> list[bytes]:
    return [r.data for r in log.read(after) if r.channel != MARK]


def why(log: RecordLog) -> str:
    """Why nothing is recorded, or nothing."""
    return log.stopped or ""


def talk_of(*texts: str) -> Talk:
    talk = Talk()
    talk.runs("m1", "c1", *texts)
    return talk


def test_recording_begins_with_the_first_cell(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k")
    talk = Talk()
    talk.request("m0", None)
    talk.stream("m0", "not of a cell")
    talk.into(log)
    assert not log.recording
    assert list(tmp_path.joinpath("k").iterdir()) == []

    talk.runs("m1", "c1", "one")
    rows = [row[3] for row in talk.rows]
    talk.into(log)
    assert recorded(log) == rows


def test_what_is_recorded_outlives_the_object(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k")
    assert log.begin("p1") == 0
    talk = talk_of("one", "two")
    rows = [row[3] for row in talk.rows]
    last = max(row[2] for row in talk.rows)
    talk.into(log)

    again = RecordLog(tmp_path / "k")
    assert recorded(again) == rows
    assert (again.epoch, again.end, again.process) == (log.epoch, log.end, "p1")
    assert again.begin("p1") == last
    assert again.begin("p2") == 0, "another process counts its records anew"


def test_a_record_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k")
    talk = talk_of("one", "two")
    from_kernel = [row for row in talk.rows if row[2]]
    talk.into(log)
    end = log.end
    for row in from_kernel:
        log.append(*row)
    assert log.end == end


@pytest.mark.parametrize("cut", [1, HEAD.size - 1, HEAD.size + 3])
def test_a_torn_tail_is_cut_off(tmp_path: Path, cut: int) -> None:
    log = RecordLog(tmp_path / "k")
    talk = talk_of("one", "two")
    rows = [row[3] for row in talk.rows]
    talk.into(log)
    log.close()
    (segment,) = tmp_path.joinpath("k").glob("log-*")
    os.truncate(segment, segment.stat().st_size - cut)

    again = RecordLog(tmp_path / "k")
    assert recorded(again) == rows[:-1]
    more = talk_of("three")
    texts = [row[3] for row in more.rows]
    for channel, flags, seq, data in more.rows:
        again.append(channel, flags, seq and seq + 100, data)
    assert recorded(again) == rows[:-1] + texts
    assert recorded(RecordLog(tmp_path / "k")) == rows[:-1] + texts


def test_a_segment_that_was_only_just_made_is_passed_over(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k")
    talk = talk_of("one")
    rows = [row[3] for row in talk.rows]
    talk.into(log)
    (tmp_path / "k" / f"log-{log.end:020d}").touch()
    again = RecordLog(tmp_path / "k")
    assert recorded(again) == rows and again.end == log.end


def test_positions_go_on_over_segments(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k", segment=2000)
    talk = talk_of(*["x" * 300] * 40)
    rows = [row[3] for row in talk.rows]
    talk.into(log)
    assert len(log.bounds()) > 5
    records = list(log.read())
    assert [r.data for r in records if r.channel != MARK] == rows
    assert all(a.end == b.at for a, b in pairwise(records))
    middle = records[len(records) // 2]
    assert recorded(log, middle.end) == [
        r.data for r in records if r.at >= middle.end and r.channel != MARK
    ]


def test_select_gives_just_the_records_of_the_ranges(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k", segment=1000)
    talk_of(*[str(i) for i in range(50)]).into(log)
    records = list(log.read())
    wanted = [records[3], records[10], records[11], records[-1]]
    ranges = [
        (records[3].at, records[3].end),
        (records[10].at, records[11].end),
        (records[-1].at, records[-1].end),
    ]
    assert list(log.select(ranges)) == wanted


def test_thinning_keeps_what_is_needed_in_its_place(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k", segment=2000)
    talk_of(*["x" * 300] * 60).into(log)
    kept = [r for r in log.read() if r.channel != MARK][::7]
    size = log.size
    freed = log.thin([(r.at, r.end) for r in kept])
    assert freed > size // 2 and log.size == size - freed
    newest = max(int(path.name[4:]) for path in (tmp_path / "k").glob("log-*"))
    assert [r for r in log.read(kept[0].at) if r.at in {k.at for k in kept}] == kept
    assert [r for r in log.read() if r.at < newest and r.channel != MARK] == [
        r for r in kept if r.at < newest
    ]

    again = RecordLog(tmp_path / "k", segment=2000)
    assert list(again.read()) == list(log.read())
    assert (again.end, again.last_seq, again.epoch) == (log.end, log.last_seq, log.epoch)
    log.rotate()
    assert log.thin([]) > 0
    assert recorded(log) == [] and RecordLog(tmp_path / "k").last_seq == log.last_seq


def test_a_full_disk_stops_the_recording_and_it_goes_on_with_the_next_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RecordLog(tmp_path / "k")
    first = talk_of("one")
    first.into(log)
    real, room = os.writev, [20]

    def writev(fd: int, buffers: list[bytes]) -> int:  # a disk with room for a part of a record
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = os.write(fd, b"".join(buffers)[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "writev", writev)
    kept = recorded(log)
    log.append(IOPUB, WHOLE, 50, b"lost")
    assert "No space left" in why(log)
    log.append(IOPUB, WHOLE, 51, b"lost too")
    talk_of("no room for this cell either").into(log)
    assert why(log) and recorded(log) == kept == recorded(RecordLog(tmp_path / "k"))

    assert why(RecordLog(tmp_path / "k")), "the next server knows that something is missing"

    monkeypatch.setattr(os, "writev", real)
    log.append(IOPUB, WHOLE, 90, b"between two cells")
    assert recorded(log) == kept
    last = Talk()
    last.request("m9", "c9")
    rows = [row[3] for row in last.rows]
    last.into(log)
    assert not why(log) and not why(RecordLog(tmp_path / "k"))
    assert recorded(log) == kept + rows
    assert [r for r in log.read() if r.channel == MARK and b'"gap"' in r.data]


def test_the_log_has_an_end_of_its_own(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k", segment=1000, limit=5000)
    talk_of(*["x" * 300] * 60).into(log)
    assert why(log) and log.size < 7000


def test_a_password_is_not_written(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k")
    talk = Talk()
    talk.request("m1", "c1")
    talk.asks("m1", "Name:")
    talk.answers("Ada")
    talk.asks("m1", "Password:", password=True)
    talk.answers("correct horse")
    talk.into(log)
    data = b"".join(path.read_bytes() for path in tmp_path.joinpath("k").iterdir())
    assert b"Ada" in data and b"correct horse" not in data


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k", segment=500)
    talk_of(*["x" * 300] * 5).into(log)
    log.thin([(0, 400), (900, 1000)])
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "k").iterdir()} == {0o600}


def test_a_log_that_nobody_records_costs_no_file(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "k")
    log.begin("p1")
    log.mark(ended="x")
    log.rotate()
    log.close()
    assert list((tmp_path / "k").iterdir()) == [] and SEGMENT == 4 << 20
