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


class Record(BaseModel):
    """Base of all records: fields that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)
