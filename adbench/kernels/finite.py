"""A check that arrays hold numbers."""

import math
from typing import Any

import numpy as np

from adbench.errors import AdbenchError


def require_finite(rows: Any, what: str) -> None:
    """Raise AdbenchError where ``rows``, an array or a tensor, holds NaN or infinity.

    The message counts them.
    """
    # A NaN or an infinity survives every sum; what merely overflows is looked at below.
    if math.isfinite(float(rows.sum())):
        return
    values = np.asarray(rows.cpu() if hasattr(rows, "cpu") else rows)
    if bad := values.size - int(np.count_nonzero(np.isfinite(values))):
        raise AdbenchError(
            f"{what} hold {bad} NaN or infinite values of {values.size}; "
            "check weights and precision"
        )
