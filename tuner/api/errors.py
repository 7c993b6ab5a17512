"""What autoquant raises.

Every error's text is one or two lines a person can act on: what was wrong, what was found, what to do.

    AutoquantError
    ├── ModelError          the ONNX file: missing, not ONNX, corrupt, external data missing, nothing to quantize
    ├── EvaluationError     the user's eval file or metric; `.traceback` holds the user's own frames, unchanged
    ├── CalibrationError    no calibration samples, or samples that do not fit the model
    ├── DeviceError         a device or provider that cannot be had
    ├── OptionError         an option or argument with an impossible value
    ├── StudyError          the database: unreadable, locked, of another model, changed inputs
    │   ├── ChangedInputsError   model, eval file or calibration differ from the study's
    │   └── StudyLockedError     another process is tuning in this folder
    ├── OutputError         a file or folder that cannot be written, a full disk
    └── InstallationError   the Python environment itself: both onnxruntime distributions, a missing extra

The command line prints the text on stderr and exits with 2.
"""


class AutoquantError(Exception):
    """Base of all errors that are the caller's or the machine's, not a bug of autoquant's."""


class ModelError(AutoquantError):
    """The ONNX file cannot be used."""


class EvaluationError(AutoquantError):
    """The user's evaluation failed or returned something that is no metric.

    Attributes:
        traceback: The user's own frames and exception, formatted as Python does, or "" where none was raised.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class CalibrationError(AutoquantError):
    """Calibration samples are missing or do not fit the model."""


class DeviceError(AutoquantError):
    """The device asked for cannot be had."""


class OptionError(AutoquantError):
    """An option or argument has an impossible value."""


class StudyError(AutoquantError):
    """The study's database cannot be used."""


class ChangedInputsError(StudyError):
    """The model, the eval file or the calibration inputs are not the study's."""


class StudyLockedError(StudyError):
    """Another process holds the study's folder."""


class OutputError(AutoquantError):
    """A file or folder cannot be written."""


class InstallationError(AutoquantError):
    """The Python environment cannot run autoquant."""
