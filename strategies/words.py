"""The parameters of a recipe and their choices: what they are called in studies, files and on the command line."""

from __future__ import annotations

CALIBRATOR = "activation/calibrator"
ACTIVATION_SYMMETRY = "activation/symmetry"
WEIGHT_GRANULARITY = "weight/granularity"
WEIGHT_SYMMETRY = "weight/symmetry"
WEIGHT_RANGE = "weight/range"
ROUNDING = "correction/rounding"
BIAS = "correction/bias"
EQUALIZATION = "correction/equalization"
SMOOTH = "correction/smooth"
OP = "op/"
LAYER = "layer/"
TABLE = "table/"
REWRITE = "rewrite/"
CALIBRATOR_OF = "calibrator/"

CALIBRATORS = ("minmax", "percentile_99.9", "percentile_99.99", "percentile_99.999", "entropy", "mse")
IMPORTED = "imported"
"""A calibrator beside these where `--ranges` brings ranges from a file: theirs."""
SYMMETRIES = ("asymmetric", "symmetric")
GRANULARITIES = ("per_channel", "per_tensor")
WEIGHT_RANGES = ("minmax", "mse")
ROUNDINGS = ("nearest", "gptq")
EMPIRICAL = "empirical"
BIASES = ("off", "on", EMPIRICAL)
EQUALIZATIONS = ("off", "on")
SMOOTHS = ("off", "0.5", "auto")
PRECISIONS = ("int8", "int16", "int4", "weight8", "fp16", "fp32")
"""What a layer may be: activations and weights of 8 bits (`int8`), activations of 16 and weights of 8 (`int16`), float
with weights of 4 bits in blocks (`int4`) or of 8 bits (`weight8`), or float."""
INTEGER_ACTIVATIONS = ("int8", "int16")
WEIGHT_ONLY = ("int4", "weight8")
GLUE_PRECISIONS = ("int8", "fp32")
TABLE_PRECISIONS = ("weight8", "fp32")
REWRITE_CHOICES = ("on", "off")
INHERIT = "inherit"
"""A layer's own calibrator: that of `activation/calibrator`."""
LATENCY, PROFILE = "latency", "profile"
"""Kinds of probes that need the clock."""
CLOSENESS = "sqnr"
"""A probe: the distance by the geometric mean over more samples, to choose between a few recipes."""
WEIGHTS = "weights"
"""A probe: as `CLOSENESS`, with nothing but the weights rounded, on float kernels."""
GLOBAL_CHOICES = {
    CALIBRATOR: CALIBRATORS,
    ACTIVATION_SYMMETRY: SYMMETRIES,
    WEIGHT_GRANULARITY: GRANULARITIES,
    WEIGHT_SYMMETRY: SYMMETRIES,
    WEIGHT_RANGE: WEIGHT_RANGES,
    ROUNDING: ROUNDINGS,
    BIAS: BIASES,
    EQUALIZATION: EQUALIZATIONS,
    SMOOTH: SMOOTHS,
}
"""The parameters that are not of one layer or operator, in the order of the space, with all their choices."""
UNCORRECTED = {name: GLOBAL_CHOICES[name][0] for name in (WEIGHT_RANGE, ROUNDING, BIAS, EQUALIZATION, SMOOTH)}
"""The parameters of what makes quantized layers better, all off."""
OF_WEIGHTS = (WEIGHT_GRANULARITY, WEIGHT_SYMMETRY, WEIGHT_RANGE, ROUNDING, BIAS, EQUALIZATION, SMOOTH)
"""Those of them that matter only where a layer's weight is quantized."""
