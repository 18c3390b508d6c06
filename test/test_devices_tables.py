"""Tables of a lab's own devices: refused with row numbers when bad, fitted and used when good."""

import numpy as np
import pytest

from memristor_bdnn.crossbar.cells import CellArray
from memristor_bdnn.device import fitting, tables
from memristor_bdnn.device.presets import load, override
from memristor_bdnn.errors import ConfigError

STATISTICS = "operation,state_ua,mean_ua,sd_ua\n"
PULSES = "operation,state_ua,next_ua\n"


def write(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        (
            STATISTICS + "set,1,1.5,0.2\nset,,1.6,0.2\nset,3,3.1,\n",
            ["row 3: state_ua is empty", "row 4: sd_ua is empty"],
        ),
        (STATISTICS + "set,1,1.5,0.2\nset,0.9,1.6,0.2\n", [r"row 3: state_ua = 0.9 does not increase \(row 2 has 1\)"]),
        (STATISTICS + "set,1,1.5,0.2\nset,1,1.6,0.2\n", ["row 3: state_ua = 1 does not increase"]),
        (STATISTICS + "set,1,1.5,-0.2\nset,2,2.2,0.2\n", ["row 2: sd_ua = -0.2 is negative"]),
        (STATISTICS + "set,1,1500,0.2\nset,2,2.2,0.2\n", ["row 2: mean_ua = 1500 uA is above 1 mA: wrong unit"]),
        (
            STATISTICS + "set,1e-6,1.5e-6,1e-7\nset,2e-6,2e-6,1e-7\n",
            ["largest current is 2e-06 uA.*microampere, not ampere"],
        ),
        (STATISTICS + "set,1,1.5,0.2\nset,nan,2.2,0.2\n", ["row 3: state_ua = nan is not finite"]),
        (STATISTICS + "set,1,1.5,0.2\nset,2,2.2\n", ["row 3: not as many fields as the header has"]),
        (STATISTICS + "set,1,1.5,0.2\npush,2,2.2,0.1\n", ["row 3: operation 'push', choose set, reset"]),
        (STATISTICS + "set,1,1.5,0.2\n", ["row 2: one state only"]),
        (STATISTICS + "\n".join(f"set,{s},{s},0.1" for s in (0.5, 0.6, 0.7, 0.8, 3.5)), ["row 6: gap of 2.7 uA"]),
        (STATISTICS, ["no rows below the header"]),
        ("", ["is empty"]),
        ("a,b\n1,2\n", ["header 'a,b' has no operation, state_ua.*: expected 'operation,state_ua,next_ua'"]),
        (PULSES + "set,1,x\nset,2,-1\n", ["row 2: next_ua = 'x' is not a number", "row 3: next_ua = -1 is negative"]),
    ],
)
def test_bad_tables_are_refused_with_row_numbers(tmp_path, text, complaints):
    path = write(tmp_path, text)
    for complaint in complaints:
        with pytest.raises(ConfigError, match=complaint):
            tables.read_table(path)


def test_all_kinds_of_bad_rows_are_reported_together(tmp_path):
    path = write(tmp_path, STATISTICS + "set,1,1.5,0.2\nset,0.9,1.5,-0.2\nset,,2,1\nreset,3,2500,0.2\n")
    with pytest.raises(ConfigError) as error:
        tables.read_table(path)
    for part in ("5 problems", "row 3: sd_ua", "row 3: state_ua = 0.9 does not", "row 4", "row 5"):
        assert part in str(error.value)


def test_many_bad_rows_are_counted_but_not_all_printed(tmp_path):
    with pytest.raises(ConfigError, match="50 problems") as error:
        tables.read_table(write(tmp_path, PULSES + "set,1,\n" * 50))
    assert str(error.value).count("row ") == 10 and "and 40 more" in str(error.value)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        tables.read_table(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="not a CSV text file"):
        tables.read_table(tmp_path / "b.csv")


def test_good_tables_with_comments_blank_lines_and_spaces(tmp_path):
    path = write(
        tmp_path, "\ufeff# measured today\nOperation, state_ua, mean_ua, sd_ua\n\nset, 1, 1.5, 0.2\nset, 2, 2.2, 0.1\n"
    )
    assert tables.read_table(path) == tables.Statistics(((1.0, 1.5, 0.2), (2.0, 2.2, 0.1)), ())


def test_columns_come_in_any_order_and_others_are_ignored(tmp_path):
    path = write(tmp_path, "device,next_ua,state_ua,operation\n17,1.5,1.0,set\n18,0.8,1.0,reset\n")
    data = tables.read_table(path)
    assert data.set_ua.tolist() == [[1.0, 1.5]] and data.reset_ua.tolist() == [[1.0, 0.8]]


def test_a_preset_takes_the_table_of_one_pulse_from_a_file_beside_it(tmp_path):
    write(tmp_path, "state_ua,mean_ua,sd_ua\n0.5,1.5,0.1\n3.5,3.6,0.3\n", "set.csv")
    preset = load(write(tmp_path, "set_pulse: {table: set.csv}\n", "mine.yaml"))
    assert preset.set_mean_ua(2.0) == pytest.approx(2.55)
    write(tmp_path, "state_ua,mean_ua,sd_ua\n0.5,1.5,0.1\n0.4,3.6,0.3\n", "set.csv")
    with pytest.raises(ConfigError, match=r"(?s)mine\.yaml.*set\.csv.*row 3"):
        load(tmp_path / "mine.yaml")


# --- fitting


def measured(preset, n, rng):
    """Pulses and reads of simulated devices, as a lab would measure them."""
    preset = override(preset, {"faults": {"stuck_low": 0.0, "stuck_high": 0.0}})
    parts = []
    for up in (True, False, None):
        states = rng.uniform(0.7, 3.7, n)
        cells = CellArray(preset, n, rng)
        cells.move(np.arange(n), states)
        if up is None:
            following = cells.read(0, n, 1, rng)[0]
        else:
            cells.pulse(np.arange(n), up, rng)
            following = cells.state_ua
        parts.append(np.stack([states, following], axis=1).astype(float))
    return tables.Measurements(*parts)


TRUTH = {
    "set_pulse": {"fraction": 0.18, "sd_constant_ua": 0.1, "sd_linear": 0.05},
    "reset_pulse": {"fraction": 0.3, "sd_constant_ua": 0.2, "sd_linear": 0.01},
    "read_noise": {"constant_ua": 0.03, "linear": 0.01, "quadratic_per_ua": 0.0},
}


def test_fit_finds_the_parameters_that_made_the_data():
    truth = override(load("tsinghua_taox_hfox"), TRUTH)
    data = measured(truth, 20_000, np.random.default_rng(0))
    result = fitting.fit_measurements(data, load("tsinghua_taox_hfox"), "mine", window_ua=(0.4, 4.0))
    fitted = result.preset
    assert fitted.set_pulse.fraction == pytest.approx(0.18, abs=0.005)
    assert fitted.reset_pulse.fraction == pytest.approx(0.3, abs=0.005)
    states = np.linspace(0.8, 3.5, 10)
    assert fitted.set_sd_ua(states) == pytest.approx(truth.set_sd_ua(states), rel=0.05)
    assert fitted.reset_sd_ua(states) == pytest.approx(truth.reset_sd_ua(states), rel=0.05)
    assert fitted.read_noise_scale_ua(states) == pytest.approx(truth.read_noise_scale_ua(states), rel=0.05)
    assert [q.operation for q in result.quality] == ["set", "reset", "read"]
    for quality in result.quality:
        assert quality.r_squared > 0.8 and quality.ks_distance < 0.03 and quality.mean_rmse_ua < 0.02


def test_fit_finds_the_window_by_itself():
    truth = override(load("tsinghua_taox_hfox"), TRUTH)
    fitted = fitting.fit_measurements(measured(truth, 20_000, np.random.default_rng(3)), truth, "mine").preset
    assert fitted.window_ua == pytest.approx((0.4, 4.0), abs=0.1)
    assert fitted.set_pulse.fraction == pytest.approx(0.18, abs=0.01)
    assert fitted.reset_pulse.fraction == pytest.approx(0.3, abs=0.01)


def test_fit_quality_exposes_a_model_that_does_not_fit():
    rng = np.random.default_rng(1)
    states = rng.uniform(0.7, 3.7, 5000)
    pairs = np.stack([states, np.clip(states + 0.8 * np.sin(4 * states) ** 2, 0, 4)], axis=1)
    data = tables.Measurements(pairs, np.empty((0, 2)), np.empty((0, 2)))
    formula = fitting.fit_measurements(data, load("tsinghua_taox_hfox"), "a", window_ua=(0.4, 4.0)).quality[0]
    table = fitting.fit_measurements(data, load("tsinghua_taox_hfox"), "b", window_ua=(0.4, 4.0), tables=True).quality[
        0
    ]
    assert formula.mean_rmse_ua > 0.15
    assert table.mean_rmse_ua < 0.3 * formula.mean_rmse_ua


def test_fit_writes_a_preset_that_loads_as_it_was_fitted(tmp_path):
    data = measured(load("tsinghua_taox_hfox"), 2000, np.random.default_rng(2))
    for with_tables in (False, True):
        result = fitting.fit_measurements(data, load("tsinghua_taox_hfox"), "mine", tables=with_tables)
        text = fitting.preset_yaml("tsinghua_taox_hfox", result.changes)
        assert load(write(tmp_path, text, "mine.yaml")) == result.preset


def test_statistics_become_the_tables_of_the_preset():
    rows = ((0.5, 1.5, 0.1), (3.5, 3.6, 0.3))
    result = fitting.fit_measurements(tables.Statistics(rows, ()), load("tsinghua_taox_hfox"), "mine")
    assert result.preset.set_pulse.table == rows and result.preset.reset_pulse == load("tsinghua_taox_hfox").reset_pulse


@pytest.mark.parametrize(("n", "spread", "complaint"), [(20, 1.0, "at least 50"), (200, 0.0, "measure at several")])
def test_too_few_measurements_are_refused(n, spread, complaint):
    pairs = np.stack([np.linspace(1, 1 + spread, n), np.full(n, 2.0)], axis=1)
    data = tables.Measurements(pairs, np.empty((0, 2)), np.empty((0, 2)))
    with pytest.raises(ConfigError, match=complaint):
        fitting.fit_measurements(data, load("tsinghua_taox_hfox"), "mine")
