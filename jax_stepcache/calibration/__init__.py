"""Calibration: which setting of a cache meets a target, found by replaying."""

from jax_stepcache.calibration.calibrate import calibrate
from jax_stepcache.calibration.fit import PolynomialFit, fit_polynomial
from jax_stepcache.calibration.result import Calibration, CurvePoint
from jax_stepcache.calibration.settings import load_settings, save_settings
from jax_stepcache.calibration.table_options import TableFit
from jax_stepcache.calibration.unreached import TargetNotReached

__all__ = [
    "Calibration",
    "CurvePoint",
    "PolynomialFit",
    "TableFit",
    "TargetNotReached",
    "calibrate",
    "fit_polynomial",
    "load_settings",
    "save_settings",
]
