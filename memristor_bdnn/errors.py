"""Errors that name the value, what was allowed, and what to do; shared by every room."""


class MemristorError(Exception):
    """Base of every error this package raises on purpose: its text is meant for the user."""


class DeviceWarning(UserWarning):
    """Devices that do not do what was asked of them, with figures and the field of the preset; work goes on."""


class ConfigError(MemristorError, ValueError):
    """A configuration value, an argument or a file's content is not allowed."""


class CapacityError(MemristorError, ValueError):
    """A network needs more cells than the accelerator has; the text says how many are missing."""


class AcceleratorError(MemristorError, RuntimeError):
    """The accelerator refused or failed an operation (connection, protocol, safety limit)."""


class UnsupportedError(AcceleratorError):
    """The accelerator cannot do this operation at all; the text says why and what can."""


class PlanningError(MemristorError, RuntimeError):
    """No motion was found.

    Attributes:
        reason: one of ``no_ik``, ``collision``, ``joint_limits``, ``timeout``, ``start_mismatch``, or ``failed`` for
            what a planner outside of this process does.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ArmError(MemristorError, RuntimeError):
    """An arm did not execute a trajectory; the arm has been stopped.

    Attributes:
        reason: a short machine-readable name, such as ``rejected``, ``stale_state``, ``deviation``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(MemristorError, RuntimeError):
    """A file of results (trials, pool, checkpoint, figures) cannot be used or written; nothing in it was changed."""


class Cancelled(MemristorError):
    """The caller asked long work to stop; what was done so far is kept."""
