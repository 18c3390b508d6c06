"""The trial store: nothing that is not its own torn line is ever removed, and file and memory always agree."""

from __future__ import annotations

import os
import resource
import signal
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
from test_learning_active import trial

from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.errors import StoreError

GOLDEN = Path(__file__).with_name("golden") / "msgld.jsonl"


def filled(path: Path, trials: int = 4) -> bytes:
    with TrialStore(path, {"skill": "toy", "seed": 7}) as store:
        for seed in range(trials):
            store.commit(trial(seed=seed))
    return path.read_bytes()


def seeds(path: Path, **options: Any) -> list[int]:
    with TrialStore(path, **options) as store:
        return [t.seed for t in store.trials]


def test_every_cut_of_a_file_opens_with_the_trials_before_it_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole.jsonl", 2)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = max(0, sum(end <= cut for end in ends) - 1)
            with TrialStore(path, {"skill": "toy", "seed": 7}) as store:
                assert [t.seed for t in store.trials] == list(range(known)), cut
                for seed in range(known, 2):
                    store.commit(trial(seed=seed))
        assert path.read_bytes() == whole, cut
        aside = path.with_name(path.name + ".damaged")
        if aside.exists():  # what may have been a whole trial, or anybody's bytes
            assert whole[:cut].endswith(aside.read_bytes().rstrip(b"\n"))


@pytest.mark.parametrize(
    "content",
    [
        b"my only notes",
        b"deadbeef is a number",
        b'{"schema": "memristor_bdnn.trials", "version": 2}',
        b'12345678 {"metadata": [',
        b"\xff\xfe\x00binary",
        b"a,b,c\n1,2,3\n",
        b"\n",
        b"[" * 100_000,
        b"00000000 {}\n",
    ],
)
def test_a_file_of_somebody_else_is_never_changed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    if content.startswith(b"12345678 {"):  # this is how a header of ours begins: kept beside the new store
        with pytest.warns(UserWarning, match="moved to|dropped"), TrialStore(path) as store:
            assert store.trials == []
        return
    with pytest.raises(StoreError, match=r"notes\.txt.*(no trial store|schema|damaged)"):
        TrialStore(path)
    assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_bytes_after_the_last_line_that_are_not_ours_are_kept_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    whole = filled(path)
    path.write_bytes(whole + b"what is this")
    with pytest.warns(UserWarning, match=r"moved to .*t\.jsonl\.damaged"):
        assert seeds(path) == [0, 1, 2, 3]
    assert path.read_bytes() == whole
    assert path.with_name("t.jsonl.damaged").read_bytes() == b"what is this\n"


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    torn = filled(path)[:-20]
    path.write_bytes(torn)
    with pytest.warns(UserWarning, match="left out"):
        assert seeds(path, readonly=True) == [0, 1, 2]
    assert path.read_bytes() == torn


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3 holds trial 1, expected trial 2"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3 holds trial 3, expected trial 2"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2 holds trial 2, expected trial 1"),
        (lambda lines: lines[1:], "no header"),
        (lambda lines: [lines[0], *lines], "line 2 is damaged"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b"0.95", b"0.96")], "line 5 is damaged"),
        (lambda lines: [*lines[:-1], b"garbage\n"], "line 5 is damaged"),
        (lambda lines: [*lines, b"\n"], "line 6 is damaged"),
        (lambda lines: [line.replace(b"\n", b"\r\n") for line in lines], "line 1 is damaged"),
    ],
)
def test_lines_removed_repeated_reordered_or_damaged_are_refused(tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "t.jsonl"
    lines = change(filled(path).splitlines(keepends=True))
    path.write_bytes(b"".join(lines))
    with pytest.raises(StoreError, match=words):
        TrialStore(path)
    assert path.read_bytes() == b"".join(lines)


def test_lines_exchanged_between_two_sessions_are_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one = filled(ours).splitlines(keepends=True)
    with TrialStore(theirs, {"skill": "toy", "seed": 8}) as store:
        for seed in range(4):
            store.commit(trial(seed=seed))
    two = theirs.read_bytes().splitlines(keepends=True)
    ours.write_bytes(b"".join([*one[:3], two[3], one[4]]))
    with pytest.raises(StoreError, match="line 4 is damaged"):
        TrialStore(ours)


def test_a_store_of_version_0_1_is_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(GOLDEN.read_bytes())
    with TrialStore(path) as store:
        held = len(store.trials)
        store.commit(trial(seed=99))
    assert path.read_bytes().startswith(GOLDEN.read_bytes())
    assert seeds(path)[held:] == [99] and b'"number"' not in path.read_bytes()


def limited(limit: int, work: Any) -> None:
    """Run in a child whose files may grow to so many bytes: what a full disk does."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("room", [0, 1, 30, 300])
def test_a_full_disk_leaves_no_phantom(tmp_path: Path, room: int) -> None:
    path = tmp_path / "t.jsonl"
    whole = filled(path, 2)

    def work() -> None:
        with TrialStore(path) as store:
            for _ in range(2):
                with pytest.raises(StoreError, match=r"t\.jsonl.*make room.*Not recorded.*\"seed\": 5"):
                    store.commit(trial(seed=5, details={"long": "x" * 400}))
            assert len(store.trials) == 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            store.commit(trial(seed=6))
            assert [t.seed for t in store.trials] == [0, 1, 6]

    limited(len(whole) + room, work)
    assert seeds(path) == [0, 1, 6]


def test_a_store_that_is_deleted_while_in_use_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    path = folder / "t.jsonl"
    with TrialStore(path) as store:
        store.commit(trial(seed=0))
        path.unlink()
        folder.rmdir()
        with pytest.raises(StoreError, match="was deleted while in use: its 1 trials were written to it again"):
            store.commit(trial(seed=1))
    assert seeds(path) == [0]


def test_a_store_that_is_replaced_while_in_use_is_kept_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with TrialStore(path) as store:
        store.commit(trial(seed=0))
        (tmp_path / "other").write_text("not yours")
        os.replace(tmp_path / "other", path)
        with pytest.raises(StoreError, match=r"replaced by another file .* 1 trials of this run are in .*rescued"):
            store.commit(trial(seed=1))
    assert path.read_text() == "not yours" and seeds(tmp_path / "t.jsonl.rescued") == [0]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: os.mkfifo(path), lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "t.jsonl")
    for readonly in (False, True):
        if readonly and not (tmp_path / "t.jsonl").exists():
            continue
        with pytest.raises(StoreError, match=r"t\.jsonl"):
            TrialStore(tmp_path / "t.jsonl", readonly=readonly)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"t\.jsonl: .*choose a file that can be read and written"):
        TrialStore(tmp_path / "file" / "t.jsonl")


@pytest.mark.parametrize(
    "change", [{"feasible": 1}, {"seed": 1.5}, {"details": [1]}, {"context": "ab"}, {"score": None}]
)
def test_a_line_that_is_no_trial_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    import json

    path = tmp_path / "t.jsonl"
    lines = filled(path, 1).splitlines(keepends=True)
    value = json.loads(lines[1][9:]) | change
    text = json.dumps(value, sort_keys=True).encode()
    lines[1] = b"%08x %s\n" % (zlib.crc32(text, int(lines[0][:8], 16)), text)
    path.write_bytes(b"".join(lines))
    with pytest.raises(StoreError, match=r"line 2 is no trial|trial (feasible|seed|details|score)"):
        TrialStore(path)
