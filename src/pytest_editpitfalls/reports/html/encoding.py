"""Numbers in a few characters, for the page's script: places in tables, probabilities, and how far these spread."""

from __future__ import annotations

import math

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ZERO, UNKNOWN = 0, 64**3 - 1
_MANTISSAS = 900  # 100 to 999

FACTOR_ZERO, FACTOR_UNKNOWN = 64**2 - 2, 64**2 - 1
_FACTORS = 148  # steps per e: neighbours differ by 0.7 %, the last one stands for a factor of 1e12


_PAIRS = [first + second for first in DIGITS for second in DIGITS]


def encode_place(number: int, width: int) -> str:
    """Return a number of at least 0 in two, three or four characters of base 64."""
    last = _PAIRS[number & 4095]
    return last if width == 2 else DIGITS[number >> 12] + last if width == 3 else _PAIRS[number >> 12] + last


def encode_probability(value: float | None) -> str:
    """Return three characters: a decimal mantissa of three digits and its exponent, as `%.3g` rounds it.

    What lies under 1e-290 counts as 0; what is no finite number from 0 to 9.99 is unknown.
    """
    if value is None or not math.isfinite(value) or not 0.0 <= value < 9.995:
        number = UNKNOWN
    elif value < 1e-290:
        number = ZERO
    else:
        text = f"{value:.2e}"
        mantissa, exponent = int(text[0] + text[2:4]), -int(text[5:])
        number = 1 + exponent * _MANTISSAS + mantissa - 100
    return encode_place(number, 3)


def encode_factor(value: float | None, mean: float | None) -> str:
    """Return two characters: by which factor the least or the greatest value lies off its mean, to half a per cent.

    Factors beyond 1e12 count as that. Unknown where one of the two is, or the mean is 0 and the value is not.
    """
    if value is None or mean is None or not (math.isfinite(value) and math.isfinite(mean)):
        number = FACTOR_UNKNOWN
    elif value == mean:
        number = 0
    elif mean <= 0.0 or value < 0.0:
        number = FACTOR_UNKNOWN
    elif value == 0.0:
        number = FACTOR_ZERO
    else:
        number = min(round(abs(math.log(value / mean)) * _FACTORS), FACTOR_ZERO - 1)
    return encode_place(number, 2)
