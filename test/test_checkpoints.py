"""Checkpoints and other binary files: judged before anything is unpacked or touched; written whole or not at all."""

import io
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_learner_base import SMALL, contents, make, trained

from memristor_bdnn import accelerator, learners
from memristor_bdnn.config import build
from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError, MemristorError, StoreError
from memristor_bdnn.state import load_npz, pack_json, restore_rng, save_npz, unpack_json, write_atomic

GOLDEN = Path(__file__).parent / "golden" / "checkpoints"
RICH = {
    "msgld": {"memory_samples": 3, "replay_rows": 4, "prior_mean": "deployed", "stop_accuracy": 1.1},
    "eapu": {"memory_rounds": 2},
    "mcmc": {},
}
QUESTIONS = np.random.default_rng(8).uniform(-1, 1, (7, 11))
ROWS = np.random.default_rng(0).uniform(-1, 1, (30, 11))


def experienced(name, seed=0):
    """A learner that was fitted and has learned in place, with everything that its checkpoint can hold."""
    learner = trained(name, seed, **RICH[name])
    learner.learn(ROWS, (ROWS[:, 0] > 0).astype(float))
    return learner


def snapshot(learner, folder):
    """Everything of a learner and its chips, and what it would predict next; the learner is as before."""
    digest = learner.save(folder / "snapshot.npz")
    twin = make(learner.name, seed=11, **RICH[learner.name])
    twin.load(folder / "snapshot.npz")
    return digest, twin.predict(QUESTIONS).samples.tobytes()


def same_but_order(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


# -- what is in the file ----------------------------------------------------------------------------------------------


def mutations(key, value, rng):
    """Variants of one array: (what was done, value, whether it may be taken because it means the same)."""
    flat = value.reshape(-1)

    def put(new, dtype=None):
        changed = value.astype(dtype or value.dtype)
        changed.reshape(-1)[rng.integers(flat.size)] = new
        return changed

    if flat.size and value.dtype.kind == "f":
        for text, new in (("NaN", np.nan), ("inf", np.inf), ("-inf", -np.inf), ("-1", -1.0), ("huge", 1e38)):
            yield text, put(new)
        yield "beyond", put(1e300, np.float64)
    if flat.size and value.dtype.kind == "i":
        info = np.iinfo(value.dtype)
        yield from (("-1", put(-1)), ("largest", put(info.max)), ("least", put(info.min)))
    if value.dtype == np.uint8:
        for text in (b"", b"{}", b"null", b"[" * 5000, b"9" * 5000, b'{"a":', b"\xff\xfe", b'"text"', b"-1", b"1e999"):
            yield f"JSON {text[:8]!r}", np.frombuffer(text, np.uint8)
    yield "text", np.full(value.shape, "a")
    yield "bytes", np.full(value.shape, b"ab")
    yield "complex", value.astype(complex)
    yield "bool", np.zeros(value.shape, bool)
    if value.dtype.kind == "i":
        yield "float for int", value.astype(float)
        yield "other int", value.astype(np.uint16)
    else:
        yield "int for float", np.ones(value.shape, np.int64)
        yield "long double", value.astype(np.longdouble)
    yield "extra row", np.concatenate([np.atleast_1d(value), np.atleast_1d(value)[:1]])
    yield "scalar", value.reshape(-1)[0] if flat.size and value.ndim else np.zeros((2, 2), value.dtype)
    yield "empty", np.zeros(0, value.dtype)
    yield "one more axis", value[None]
    yield "random", rng.choice(np.frombuffer(rng.bytes(8), value.dtype), value.shape)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint of each learner, its arrays, and another learner of the same kind to load it into."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {}
    for name in SMALL:
        experienced(name).save(folder / f"{name}.npz")
        made[name] = contents(folder / f"{name}.npz"), experienced(name, seed=1)
    return made


SEEDS = range(int(os.environ.get("CHECKPOINT_SEEDS", "1")))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_array_of_a_checkpoint_is_judged_and_a_refusal_changes_nothing(name, seed, written, tmp_path):
    whole, learner = written[name]
    before = snapshot(learner, tmp_path)
    rng = np.random.default_rng(seed)
    cases = [(f"{key} removed", key, {k: v for k, v in whole.items() if k != key}) for key in whole]
    cases += [
        (f"{key} renamed", key, {(k + "x" if k == key else k): v for k, v in whole.items()})
        for key in whole
        if key != "contents"
    ]
    for key, value in whole.items():
        cases += [(f"{key}: {text}", key, {**whole, key: bad}) for text, bad in mutations(key, value, rng)]
    assert len(cases) > 200
    wrong = []
    for text, key, arrays in cases:
        np.savez(tmp_path / "bad.npz", **arrays)
        try:
            learner.load(tmp_path / "bad.npz")
        except ConfigError as error:
            if key.removeprefix("accelerator.").removeprefix("cells.") not in str(error):
                wrong.append(f"{text}: not named: {error}")
            if learner.save(tmp_path / "after.npz") != before[0]:
                wrong.append(f"{text}: changed by a refused load")
        except Exception as error:
            wrong.append(f"{text}: {type(error).__name__}: {error}")
        else:
            if not np.isfinite(learner.predict(QUESTIONS).samples).all():
                wrong.append(f"{text}: accepted, and predicts NaN")
            learner.learn(ROWS, (ROWS[:, 0] > 0).astype(float))
            learner.save(tmp_path / "after.npz")
            learner.load(tmp_path / "snapshot.npz")
    assert not wrong, "\n".join(wrong)
    assert snapshot(learner, tmp_path) == before


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_without_a_scaler_of_a_learner_that_was_trained_is_refused(name, written, tmp_path):
    whole, learner = written[name]
    for drop in (("contents",), ()):  # as version 0.1 wrote it, too
        rest = {k: v for k, v in whole.items() if k not in ("scaler_mean", "scaler_sd", *drop)}
        np.savez(tmp_path / "bad.npz", **rest)
        with pytest.raises(ConfigError, match=r"scaler_mean.*missing"):
            learner.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("name", SMALL)
def test_unknown_arrays_are_refused_and_the_session_mark_is_not(name, written, tmp_path):
    whole, learner = written[name]
    for key in ("extra", "accelerator.extra", "accelerator.cells.extra", "accelerator.ledger.extra"):
        for drop in ("contents", ""):
            rest = {k: v for k, v in whole.items() if k != drop}
            np.savez(tmp_path / "bad.npz", **rest, **{key: np.zeros(3)})
            with pytest.raises(ConfigError, match="extra"):
                learner.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "marked.npz", **whole, session=pack_json({"labels": 30}))
    learner.load(tmp_path / "marked.npz")


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_of_version_0_1_loads_and_goes_on(name):
    whole = contents(GOLDEN / f"{name}.npz")
    preset = build(presets.DevicePreset, unpack_json(whole["accelerator.identity"])["preset"])
    chips = accelerator.create("simulated", preset=preset, seed=5)
    options = unpack_json(whole["config"])
    learner = learners.create(name, chips, options, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.load(GOLDEN / f"{name}.npz")
    expected = contents(GOLDEN / "predictions.npz")[name]
    np.testing.assert_allclose(learner.predict(ROWS[:9]).samples, expected, atol=1e-4)


def test_an_option_that_the_file_does_not_know_takes_its_default_and_is_said(tmp_path):
    trained("eapu").save(tmp_path / "a.npz")
    whole = contents(tmp_path / "a.npz")
    options = unpack_json(whole["config"])
    del options["softness"], options["ex_situ"]["batch"]
    np.savez(tmp_path / "older.npz", **{**whole, "config": pack_json(options)})
    with pytest.warns(UserWarning, match=r"take their defaults: softness = 0\.0, ex_situ\.batch = "):
        make("eapu", seed=2).load(tmp_path / "older.npz")
    with pytest.raises(ConfigError, match=r"softness = absent \(default 0\.0\) in the checkpoint, 0\.5 here"):
        make("eapu", softness=0.5).load(tmp_path / "older.npz")


def test_options_of_wrong_types_are_named(tmp_path):
    trained("eapu").save(tmp_path / "a.npz")
    whole = contents(tmp_path / "a.npz")
    options = unpack_json(whole["config"])
    learner = make("eapu")
    for key, bad in itertools.product(
        ("input_bits", "hidden", "ex_situ", "features", "offset_ua"), (True, "x", [[]], {})
    ):
        np.savez(tmp_path / "b.npz", **{**whole, "config": pack_json({**options, key: bad})})
        with pytest.raises(ConfigError, match=key):
            learner.load(tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", **{**whole, "config": pack_json({**options, "features": "x" * 100_000})})
    with pytest.raises(ConfigError) as refused:
        learner.load(tmp_path / "b.npz")
    assert len(str(refused.value)) < 2000


def test_another_number_of_cells_is_no_layout_of_this_learner(written, tmp_path):
    whole, learner = written["eapu"]
    identity = unpack_json(whole["accelerator.identity"])
    for cells in (identity["n_cells"] - 1, 0, True, "many", None, 1.5):
        np.savez(tmp_path / "b.npz", **{**whole, "accelerator.identity": pack_json({**identity, "n_cells": cells})})
        with pytest.raises(ConfigError, match="n_cells"):
            learner.load(tmp_path / "b.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"bit_generator": "MT19937"},
        {"bit_generator": 3},
        {"state": {"state": 1.5, "inc": 3}},
        {"state": {"state": -1, "inc": 3}},
        {"state": {"state": 2**200, "inc": 3}},
        {"state": {"state": 5, "inc": 4}},
        {"state": {"state": True, "inc": 3}},
        {"state": 3},
        {"has_uint32": 7},
        {"has_uint32": True},
        {"uinteger": 2**40},
        {"uinteger": "1"},
    ],
)
def test_states_that_no_generator_was_in_are_refused_and_it_stays_as_it_was(change):
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    with pytest.raises(ConfigError, match="my rng"):
        restore_rng(rng, pack_json({**before, **change}), "my rng")
    assert rng.bit_generator.state == before


def test_a_learner_of_another_package_that_fails_half_way_is_put_back(tmp_path, monkeypatch):
    learner = experienced("eapu")
    experienced("eapu", seed=4).save(tmp_path / "other.npz")
    before = snapshot(learner, tmp_path)
    kind, whole = type(learner), type(learner)._restore
    failed = []

    def half(self, arrays):
        whole(self, arrays)
        if not failed:
            failed.append(1)
            raise KeyError("no such thing")

    monkeypatch.setattr(kind, "_restore", half)
    with pytest.raises(ConfigError, match="eapu cannot go on from it: KeyError"):
        learner.load(tmp_path / "other.npz")
    monkeypatch.undo()
    assert snapshot(learner, tmp_path) == before


def test_chips_of_another_package_that_fail_half_way_are_put_back(tmp_path, monkeypatch):
    learner = experienced("eapu")
    experienced("eapu", seed=4).save(tmp_path / "other.npz")
    before = snapshot(learner, tmp_path)
    kind, whole = type(learner.accelerator), type(learner.accelerator)._restore
    failed = []

    def half(self, arrays, n_cells):
        whole(self, arrays, n_cells)
        if not failed:
            failed.append(1)
            raise IndexError("no such cell")

    monkeypatch.setattr(kind, "_restore", half)
    with pytest.raises(ConfigError, match="IndexError: no such cell"):
        learner.load(tmp_path / "other.npz")
    monkeypatch.undo()
    assert snapshot(learner, tmp_path) == before


def test_the_saved_state_of_a_board_is_judged_before_the_board_is_asked():
    from test_escim_driver import Setup

    setup = Setup()
    driver = setup.driver(setup.board())
    state = driver.state_dict()
    before = {key: np.array(value) for key, value in state.items()}
    for key, value in state.items():
        for text, bad in [("missing", None), *mutations(key, np.asarray(value), np.random.default_rng(0))]:
            changed = {k: v for k, v in state.items() if k != key} | ({} if bad is None else {key: bad})
            if text == "random":  # currents in range that other chips may have: the chips are asked then
                continue
            reads = driver.ledger.reads
            with pytest.raises(ConfigError) as refused:
                driver.load_state_dict(changed)
            assert key.split(".")[-1] in str(refused.value), (key, text, refused.value)
            assert driver.ledger.reads == reads, (key, text)
    with pytest.raises(ConfigError, match="extra unknown"):
        driver.load_state_dict({**state, "extra": np.zeros(1)})
    assert all(same_but_order(np.asarray(v), before[k]) for k, v in driver.state_dict().items())
    for close in setup.open:
        close()


def test_a_loaded_state_can_be_written_into_and_is_nobody_elses(tmp_path):
    save_npz(tmp_path / "a.npz", {"x": np.arange(3.0)})
    loaded = load_npz(tmp_path / "a.npz")["x"]
    loaded += 1
    np.testing.assert_array_equal(load_npz(tmp_path / "a.npz")["x"], np.arange(3.0))


# -- which files are read ---------------------------------------------------------------------------------------------


def archive(path, members, **how):
    """A zip file of named members."""
    with zipfile.ZipFile(path, "w", **how) as file:
        for name, content in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file.writestr(name, content)
    return path


def npy(value):
    stream = io.BytesIO()
    np.save(stream, value)
    return stream.getvalue()


def npy_header(text, version=1, length=None):
    text = text.encode()
    length = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + length.to_bytes(2 if version == 1 else 4, "little") + text


def described(descr, shape, order=False):
    return npy_header(f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}\n")


def quickly(call, seconds=5.0):
    """The outcome of a call that must not wait for anybody."""
    result = []

    def work():
        try:
            result.append(call())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "it waits"
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket.npz"))
    os.symlink("pipe.npz", tmp_path / "link.npz")
    os.symlink("loop.npz", tmp_path / "loop.npz")
    learner = make("eapu")
    for name, reason in (
        ("pipe.npz", "is a pipe"),
        ("link.npz", "is a pipe"),
        ("folder.npz", "is a directory"),
        ("socket.npz", "is a socket"),
        ("/dev/zero", "is a device"),
        ("absent.npz", "No such file"),
        ("loop.npz", "symbolic links"),
        ("a\0b", "no name of a file"),
        ("\udcff", "No such file"),
        ("x" * 300, "too long"),
        ("", "is a directory"),
    ):
        with pytest.raises(ConfigError, match=reason):
            quickly(lambda name=name: load_npz(tmp_path / name))
        with pytest.raises(ConfigError, match=reason):
            quickly(lambda name=name: learner.load(tmp_path / name))
    listening.close()


def test_a_file_that_unpacks_to_gigabytes_is_refused_without_unpacking(tmp_path):
    zeros = described("<f8", (125_000_000,)) + bytes(8)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        with file.open("x.npy", "w", force_zip64=True) as member:
            member.write(zeros[:-8])
            for _ in range(125):
                member.write(bytes(8_000_000))
    assert (tmp_path / "bomb.npz").stat().st_size < 5e6
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))\n"
        "from memristor_bdnn.state import load_npz\n"
        "from memristor_bdnn.errors import ConfigError\n"
        "try: load_npz(sys.argv[1])\n"
        "except ConfigError as error: print(error)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "bomb.npz"], capture_output=True, text=True, check=True
    )
    said, peak_kib = run.stdout.strip().splitlines()
    assert "would unpack from" in said and int(peak_kib) < 300_000


@pytest.mark.parametrize("name", SMALL)
def test_an_array_larger_than_the_learners_own_is_refused_before_it_is_unpacked(name, written, tmp_path):
    whole, learner = written[name]
    for key in ("accelerator.cells.state_ua", "accelerator.ledger.wear", "scaler_sd", "rng", "config", "session"):
        bad = {**whole, key: np.zeros(6_000_000, np.uint8)}
        np.savez_compressed(tmp_path / "bad.npz", **bad)
        with pytest.raises(ConfigError, match=rf"{key}.*(has shape|at most)"):
            learner.load(tmp_path / "bad.npz")


def test_archives_that_are_no_plain_arrays_are_refused_by_name(tmp_path):
    x = npy(np.arange(4.0))
    bad = tmp_path / "bad.npz"
    huge = "9" * 30
    cases = [
        ([("x.npy", x), ("x.npy", x)], "'x.npy' is there twice"),
        ([("../x.npy", x)], r"'\.\./x\.npy' is no array"),
        ([("/x.npy", x)], "is no array"),
        ([("a/x.npy", x)], "is no array"),
        ([("a\\x.npy", x)], "is no array"),
        ([("x\n.npy", x)], "is no array"),
        ([(".npy", x)], "is no array"),
        ([("x.txt", x)], "is no array"),
        ([("x/", b"")], "is no array"),
        ([("x.npy", b"")], r"x is no \.npy array"),
        ([("x.npy", b"\x93NUMPY")], r"x is no \.npy array"),
        ([("x.npy", b"\x93NUMPY\x09\x00" + x[8:])], r"x is no \.npy array"),
        ([("x.npy", x[:-1])], "x has .* bytes, its shape"),
        ([("x.npy", x + b"1")], "x has .* bytes, its shape"),
        ([("x.npy", described("|O", (2,)) + bytes(16))], "x is no plain array"),
        ([("x.npy", described([("a", "<f8")], (2,)) + bytes(16))], "x is no plain array"),
        ([("x.npy", described("|V8", (2,)) + bytes(16))], "x is no plain array"),
        ([("x.npy", described("<M8[s]", (2,)) + bytes(16))], "x is no plain array"),
        ([("x.npy", described("<f7", (2,)) + bytes(14))], "x has an unknown type"),
        ([("x.npy", described("<f8", (-2,)))], "x is no plain array"),
        ([("x.npy", described("<f8", f"({huge},)"))], "x has an impossible shape"),
        ([("x.npy", described("<f8", f"(0, {huge})"))], "x has an impossible shape"),
        ([("x.npy", described("<f8", (1,) * 40) + bytes(8))], "x has an impossible shape"),
        ([("x.npy", described("<f8", "(3)*2") + bytes(48))], "x is no plain array"),
        ([("x.npy", npy_header("(" * 4000))], "x is no plain array"),
        ([("x.npy", npy_header("{" + " " * 60000 + "}"))], "x has a header of"),
        ([("x.npy", npy_header("{}", version=2, length=2**31))], "x has a header of"),
        ([("x.npy", npy_header("", length=1))], "x has a header of"),
        ([("x.npy", described("|b1", (2,)) + b"\x01\x07")], "x holds truth values"),
        ([("x.npy", described("<U1", (1,)) + b"\xff\xff\xff\xff")], "x holds what is no text"),
    ]
    for members, reason in cases:
        archive(bad, members)
        with pytest.raises(ConfigError, match=f"bad.npz.*{reason}"):
            load_npz(bad)
    archive(bad, [("x.npy", x)], compression=zipfile.ZIP_BZIP2)
    with pytest.raises(ConfigError, match=r"'x\.npy' is packed by method 12"):
        load_npz(bad)


def test_damaged_archives_are_refused(tmp_path):
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    np.savez_compressed(good, x=np.arange(100.0), y=np.arange(5))
    whole = good.read_bytes()
    assert set(load_npz(good)) == {"x", "y"}
    for content in (
        b"",
        b"PK",
        whole[:100],
        whole[:-1],
        whole[:-30],
        whole + b"\n",
        whole + whole,
        b"#!" + whole,
        bytes(len(whole)),
        whole[:60] + bytes(20) + whole[80:],
    ):
        bad.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.npz"):
            load_npz(bad)
    central = whole.index(b"PK\x01\x02")
    for offset, value in ((8, b"\x01\x00"), (24, struct.pack("<I", 7)), (42, struct.pack("<I", 33))):
        bad.write_bytes(whole[: central + offset] + value + whole[central + offset + len(value) :])
        with pytest.raises(ConfigError, match=r"bad\.npz"):
            load_npz(bad)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_damage_of_single_bytes_is_more_than_an_error(seed, tmp_path):
    whole = (GOLDEN / "predictions.npz").read_bytes()
    rng = np.random.default_rng(seed)
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] = rng.integers(256)
        (tmp_path / "bad.npz").write_bytes(content)
        try:
            load_npz(tmp_path / "bad.npz")
        except ConfigError as error:
            assert "bad.npz" in str(error)


def test_what_numpy_writes_is_read_as_numpy_reads_it(tmp_path):
    arrays = {
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4), np.float32),
        "bits": np.array([[True, False]]),
        "text": np.array(["a", "mm"]),
        "bytes": np.array([b"a", b"xyz"]),
        "small": np.arange(6, dtype=np.int8).reshape(1, 2, 3),
        "complex": np.array([1 + 2j]),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "foreign": np.arange(3, dtype=">f8"),
    }
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **arrays)
        found = load_npz(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        for key, value in arrays.items():
            np.testing.assert_array_equal(found[key], value)
            assert found[key].dtype == value.dtype.newbyteorder("=")


def test_other_readers_of_binary_files_do_not_wait_either(tmp_path):
    from memristor_bdnn.active.test_data import load_test_data
    from memristor_bdnn.benchmark.dbal.data import load_trials
    from memristor_bdnn.crossbar.validation import load_measurement
    from memristor_bdnn.skills import load, pool
    from memristor_bdnn.skills.pouring import pool as pouring_pool

    os.mkfifo(tmp_path / "pipe.npz")
    pushing = load("pushing")
    for read in (
        lambda path: load_test_data(path, pushing),
        lambda path: pool.load(path, pushing),
        pouring_pool.load,
        load_trials,
        load_measurement,
    ):
        with pytest.raises(MemristorError, match="pipe"):
            quickly(lambda read=read: read(tmp_path / "pipe.npz"))


def test_pools_with_missing_or_mis_shaped_columns_are_refused_by_name(tmp_path):
    from memristor_bdnn.skills import load, pool
    from memristor_bdnn.skills.pouring import pool as pouring_pool

    pushing = load("pushing")
    shipped = Path(pool.__file__).parent
    for path, read in (
        (shipped / "pushing" / "pool.npz", lambda p: pool.load(p, pushing)),
        (shipped / "pouring" / "pool.npz", pouring_pool.load),
    ):
        whole = {k: v for k, v in contents(path).items()}
        rows = {k: v[:20] if v.ndim and len(v) > 1000 else v for k, v in whole.items()}
        np.savez(tmp_path / "few.npz", **rows)
        read(tmp_path / "few.npz")
        for key, value in rows.items():
            if key in ("command", "feature_names", "settings"):
                continue
            variants = [None, np.full(np.shape(value), "a"), np.zeros((3, 3, 3))]
            if value.ndim and value.dtype.kind == "f":
                variants += [np.full_like(value, np.nan), value[:-1]]
            for bad in variants:
                changed = {k: v for k, v in rows.items() if k != key} | ({} if bad is None else {key: bad})
                np.savez(tmp_path / "bad.npz", **changed)
                with pytest.raises(MemristorError, match=r"bad\.npz"):
                    read(tmp_path / "bad.npz")


# -- how files are written --------------------------------------------------------------------------------------------


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing_behind(tmp_path):
    learner = experienced("eapu")
    before = snapshot(learner, tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("folder", "is a directory"),
        ("pipe", "is a pipe"),
        ("absent/a.npz", "No such file or directory; make its folder"),
        ("file/a.npz", "Not a directory"),
        ("x" * 300, "too long"),
        ("/proc/a.npz", "cannot write /proc/a.npz"),
    ):
        with pytest.raises(StoreError, match=reason) as refused:
            learner.save(tmp_path / name)
        assert "\n" not in str(refused.value) and str(name) in str(refused.value)
    for name in ("", ".", "/", "..", "a\0b", "/dev/null"):
        with pytest.raises(MemristorError):
            learner.save(name)
        with pytest.raises(MemristorError):
            write_atomic(name, b"x")
    assert not leftovers(tmp_path) and not leftovers(".")
    assert snapshot(learner, tmp_path) == before


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from memristor_bdnn.errors import StoreError\n"
        "from memristor_bdnn.state import write_atomic\n"
        "try: write_atomic(sys.argv[1], bytes(100_000))\n"
        "except StoreError as error: print(error)"
    )
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert f"cannot write {path}: File too large" in run.stdout
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.npz"]


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old, fresh = tmp_path / f".a.npz.{gone.pid}.tmp", tmp_path / f".a.npz.{gone.pid}-7.tmp"
    living, other = tmp_path / f".a.npz.{os.getppid()}.tmp", tmp_path / f".b.npz.{gone.pid}.tmp"
    for path in (old, fresh, living, other):
        path.write_bytes(b"x")
    for path in (old, living, other):
        os.utime(path, (time.time() - 3600,) * 2)
    write_atomic(tmp_path / "a.npz", b"new")
    assert not old.exists() and fresh.exists() and living.exists() and other.exists()
    assert (tmp_path / "a.npz").read_bytes() == b"new"


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path):
    path = tmp_path / "a"
    threads = [threading.Thread(target=write_atomic, args=(path, bytes([n]) * 200_000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = path.read_bytes()
    assert len(content) == 200_000 and len(set(content)) == 1 and not leftovers(tmp_path)


def test_names_that_no_reader_takes_are_not_written(tmp_path):
    for name in ("a/b", "../a", "", "a:b"):
        with pytest.raises(ConfigError, match="cannot save"):
            save_npz(tmp_path / "a.npz", {name: np.zeros(1)})
