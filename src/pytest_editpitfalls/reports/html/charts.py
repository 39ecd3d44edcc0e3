"""Small inline SVG drawings. Positions are percentages, so that a drawing takes whatever width its place has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pytest_editpitfalls.reports.view.kinds import metric_named

BINS = 24


@dataclass(frozen=True, slots=True)
class Axis:
    """The range of values that a drawing shows; what lies beyond is drawn at its edge with an arrow."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where ``value`` lies, in per cent of the width, from 2 to 98."""
        share = (value - self.low) / (self.high - self.low)
        return 2 + 96 * min(max(share, 0.0), 1.0)

    @property
    def ticks(self) -> list[float]:
        """Ends and middle; 0 where it lies inside."""
        middle = 0.0 if self.low < 0 < self.high else (self.low + self.high) / 2
        return [self.low, middle, self.high]


def axis_of(metric: str, values: Sequence[float | None]) -> Axis:
    """Return the axis of a metric: its range; where that is open or the values fill little of it, what they need.

    ``values`` are all that will be drawn on it: means, ends of intervals, published figures, bounds.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    spec = metric_named(metric)
    least, most = min(known, default=0.0), max(known, default=1.0)
    low = spec.low if spec is not None and spec.low is not None else _nice_below(min(least, 0.0))
    high = spec.high if spec is not None and math.isfinite(spec.high) else max(most, low + 1.0)
    if spec is not None and low == 0.0 and not spec.is_binary and 0.0 < most < high / 2 and high < 1:
        high = min(high, _nice_above(most))  # divergences: a range of 0.69 hides figures of 0.02
    return Axis(low, high)


def _nice_above(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)


def _nice_below(value: float) -> float:
    return -_nice_above(-value) if value < -1e-9 else 0.0


def forest(
    axis: Axis,
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    published: float | None = None,
    control: float | None = None,
    bound: float | None = None,
) -> Markup:
    """Draw a value with its interval; a hollow diamond for a published figure, a ring for the same without any edit, a
    dashed line for a bound."""
    parts = [_line(axis.place(tick), "tick zero" if tick == 0 else "tick") for tick in axis.ticks]
    if bound is not None:
        parts.append(_line(axis.place(bound), "bound"))
    if low is not None or high is not None:  # a missing end lies beyond the edge, and has no cap
        a, b = (axis.place(end if known is None else known) for known, end in ((low, axis.low), (high, axis.high)))
        parts.append(f'<line class="ci" x1="{a:.2f}%" x2="{b:.2f}%" y1="9" y2="9"/>')
        caps = [x for x, known in ((a, low), (b, high)) if known is not None]
        parts += [f'<line class="ci" x1="{x:.2f}%" x2="{x:.2f}%" y1="6" y2="12"/>' for x in caps]
    if published is not None:
        parts.append(_mark(axis, published, "published", "M0 3.5 5 9 0 14.5-5 9Z"))
    if control is not None:
        parts.append(_mark(axis, control, "control", "M-4.5 9a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0Z"))
    if value is not None:
        arrow = {-1: "M-5 9 3 4V14Z", 1: "M5 9-3 4V14Z"}.get(_beyond(axis, value))
        parts.append(_mark(axis, value, "value", arrow or "M-4.5 4.5H4.5V13.5H-4.5Z"))
    return _svg("".join(parts), "forest", 18)


def histogram(axis: Axis, values: Sequence[float]) -> Markup:
    """Draw how per-case values are spread over the axis; values beyond its ends are counted in the outermost bars."""
    counts = [0] * BINS
    for value in values:
        share = (value - axis.low) / (axis.high - axis.low)
        counts[min(max(int(share * BINS), 0), BINS - 1)] += 1
    tallest = max(counts, default=0) or 1
    bars = {place: 40 - max(38 * count / tallest, 1.5) for place, count in enumerate(counts) if count}
    path = "".join(f"M{4 * place} 40V{top:.1f}h3.4V40Z" for place, top in bars.items())
    body = f'<path class="bars" d="{path}"/><path class="base" d="M0 40H{4 * BINS}"/>'
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {4 * BINS} 41" preserveAspectRatio="none" '
        f'aria-hidden="true" focusable="false">{body}</svg>'
    )


def share_bar(parts: Mapping[str, int]) -> Markup:
    """Draw counts as parts of one bar: class -> count."""
    total = sum(parts.values()) or 1
    left, body = 0.0, []
    for name, count in parts.items():
        width = 100 * count / total
        if count:
            body.append(f'<rect class="{name}" x="{left:.3f}%" width="{width:.3f}%" y="0" height="10"/>')
        left += width
    return _svg("".join(body), "share", 10)


def _beyond(axis: Axis, value: float) -> int:
    reach = 1e-9 * (axis.high - axis.low)
    return -1 if value < axis.low - reach else 1 if value > axis.high + reach else 0


def _line(x: float, name: str) -> str:
    return f'<line class="{name}" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="18"/>'


def _mark(axis: Axis, value: float, name: str, path: str) -> str:
    # a nested svg is the one way to place a path by percentage
    return f'<svg x="{axis.place(value):.2f}%" overflow="visible"><path class="{name}" d="{path}"/></svg>'


def _svg(body: str, name: str, height: int) -> Markup:
    """Return a drawing that says nothing by itself: its numbers stand beside it as text."""
    return Markup(
        f'<svg class="{name}" width="100%" height="{height}" aria-hidden="true" focusable="false">{body}</svg>'
    )
