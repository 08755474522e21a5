"""How much code goes without a question, and what is said of the rest."""

from __future__ import annotations

import os

import pytest

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.workspaces.guard import (
    MOST_BYTES,
    SETTING,
    Amount,
    LargeFolder,
    check_amount,
    largest,
)
from jupyter_cloudml.workspaces.listing import Found


def found(path: str, size: int = 1) -> Found:
    return Found(path.encode(), os.stat_result((0o100644, 0, 0, 1, 0, 0, size, 0, 0, 0)))


def test_the_setting_is_a_size() -> None:
    assert Amount.from_environ({}).bytes == MOST_BYTES
    assert Amount.from_environ({SETTING: "2GB"}).bytes == 2 * 10**9
    for text in ("2", "-1GB", "many", "1.5GB", "9" * 40 + "GB"):
        with pytest.raises(UsageError, match=SETTING):
            Amount.from_environ({SETTING: text})


def test_what_was_accepted_may_become_twice_as_much() -> None:
    most = Amount(100, 10).grown(Amount(90, 30))
    assert (most.bytes, most.files) == (180, 60)
    assert Amount(100, 10).grown(None) == Amount(100, 10)


def test_the_folders_that_hold_most_are_named_inside_the_one_that_holds_nearly_all() -> None:
    files = [found(f"data/raw/{n % 3}/{n}") for n in range(300)] + [found("train.py")]
    assert [path for path, _ in largest(files)] == ["data/raw/0", "data/raw/1", "data/raw/2"]
    by_size = [found("a/x", MOST_BYTES), *(found(f"b/{n}") for n in range(20))]
    assert largest(by_size)[0] == ("a", Amount(MOST_BYTES, 1))
    assert largest([found(str(n)) for n in range(9)]) == []


def test_the_error_has_the_numbers_and_counts_no_file_that_was_decided_about() -> None:
    files = [found(f"data/{n}", 1000) for n in range(8)] + [found("big", 10**9)]
    assert check_amount(files, Amount(9000, 10), ["big"]) == Amount(8000, 8)
    with pytest.raises(LargeFolder) as caught:
        check_amount(files, Amount(9000, 10), [])
    assert caught.value.details["bytes"] == 8000 + 10**9
    assert ".gitignore" in caught.value.hint and "9 files" in caught.value.message
