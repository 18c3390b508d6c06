"""Learn on memristor crossbars: devices, learners, and robots that learn manipulation skills on them.

What a notebook needs has a name here (``dir(memristor_bdnn)``, docs/library.md). Each is imported when it is asked for:
``import memristor_bdnn`` alone loads neither torch nor PyBullet, and nothing in the library loads ROS.
"""

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# The generated messages (memristor_bdnn.msg, .srv, .action) live in the installed copy of this
# package. When the source tree comes first on sys.path, extend_path lets both halves be found.
__path__ = extend_path(__path__, __name__)

__version__ = "0.2.0"

__all__ = [
    "ActiveLoop",
    "ConfigError",
    "DevicePreset",
    "DeviceWarning",
    "Dimension",
    "EaPU",
    "LearnReport",
    "LoopConfig",
    "LoopReport",
    "Measured",
    "MemristorError",
    "Prediction",
    "Skill",
    "Space",
    "Trial",
    "TrialOutcome",
    "TrialStore",
    "accelerator",
    "acquisitions",
    "device_check",
    "errors",
    "fit_measurements",
    "fitting",
    "learners",
    "presets",
    "read_table",
    "skills",
    "tables",
]

if TYPE_CHECKING:
    from memristor_bdnn import accelerator, acquisitions, errors, learners, skills
    from memristor_bdnn.active.loop import ActiveLoop
    from memristor_bdnn.active.records import LoopConfig, LoopReport
    from memristor_bdnn.active.store import Trial, TrialStore
    from memristor_bdnn.device import fitting, presets, tables
    from memristor_bdnn.device.fitting import fit_measurements
    from memristor_bdnn.device.presets import DevicePreset
    from memristor_bdnn.device.tables import read_table
    from memristor_bdnn.errors import ConfigError, DeviceWarning, MemristorError
    from memristor_bdnn.learners import device_check
    from memristor_bdnn.learners.eapu.optimizer import EaPU
    from memristor_bdnn.learners.protocol import LearnReport, Prediction
    from memristor_bdnn.skills.protocol import Skill
    from memristor_bdnn.skills.records import Measured, TrialOutcome
    from memristor_bdnn.spaces import Dimension, Space
else:  # a type checker would take any name for one that exists

    def __getattr__(name: str) -> Any:
        import importlib

        if name not in _HOMES:
            raise AttributeError(_unknown(name))
        module, _, attribute = _HOMES[name].partition(":")
        found = importlib.import_module(f"{__name__}.{module}")
        value = globals()[name] = getattr(found, attribute) if attribute else found
        return value


_HOMES = {
    "ActiveLoop": "active.loop:ActiveLoop",
    "ConfigError": "errors:ConfigError",
    "DevicePreset": "device.presets:DevicePreset",
    "DeviceWarning": "errors:DeviceWarning",
    "Dimension": "spaces:Dimension",
    "EaPU": "learners.eapu.optimizer:EaPU",
    "LearnReport": "learners.protocol:LearnReport",
    "LoopConfig": "active.records:LoopConfig",
    "LoopReport": "active.records:LoopReport",
    "Measured": "skills.records:Measured",
    "MemristorError": "errors:MemristorError",
    "Prediction": "learners.protocol:Prediction",
    "Skill": "skills.protocol:Skill",
    "Space": "spaces:Space",
    "Trial": "active.store:Trial",
    "TrialOutcome": "skills.records:TrialOutcome",
    "TrialStore": "active.store:TrialStore",
    "accelerator": "accelerator",
    "acquisitions": "acquisitions",
    "device_check": "learners.device_check",
    "errors": "errors",
    "fit_measurements": "device.fitting:fit_measurements",
    "fitting": "device.fitting",
    "learners": "learners",
    "presets": "device.presets",
    "read_table": "device.tables:read_table",
    "skills": "skills",
    "tables": "device.tables",
}
"""Name -> "module" or "module:attribute", below this package."""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _unknown(name: str) -> str:
    """What to say of a name that is not here: the near ones, however they are spelled, or all."""
    import difflib

    def plain(text: str) -> str:
        return text.lower().replace("_", "")

    by_plain: dict[str, list[str]] = {}
    for known in __all__:
        by_plain.setdefault(plain(known), []).append(known)
    near = [known for match in difflib.get_close_matches(plain(name), by_plain, n=3) for known in by_plain[match]]
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(__all__)}"
    return f"module {__name__!r} has no attribute {name!r}; {hint}"
