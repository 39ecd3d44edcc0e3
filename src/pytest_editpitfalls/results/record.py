"""What every record of a result file is made of."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _finite(value: object) -> object:
    """JSON knows neither NaN nor infinity: such a number is unknown."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A finite number, or None."""


def _all_finite(values: object) -> object:
    if not isinstance(values, list):
        return values
    try:
        if math.isfinite(sum(values)):  # the usual case; a call for each number took longer than all else of a record
            return values
    except TypeError:  # an unknown one among them, or something that is refused in a moment
        pass
    return [_finite(value) for value in values]


Numbers = Annotated[list[float | None], BeforeValidator(_all_finite)]
"""A list of `Number`, checked at once."""


class Record(BaseModel):
    """Base of all records: fields that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)
