"""What the JSON of a run says of a finished checkpoint that was audited."""

from __future__ import annotations

from pydantic import Field

from .record import Number, Record


class EditedWeightRecord(Record):
    """One weight of an edited checkpoint that is not the base's."""

    name: str = Field(description="its full name in the model; of tied weights the first")
    shape: list[int]
    change: Number = Field(
        description="Frobenius norm of the difference, relative to that of the base's weight; null: that is all zero"
    )
    entries: Number = Field(description="share of its numbers that differ")
    rank: int | None = Field(default=None, description="rank of the difference where it is 16 at most; null: higher")


class CheckpointRecord(Record):
    """A finished checkpoint that was audited: no editor edited."""

    source: str = Field(description="the checkpoint: a directory, or another name of a model")
    form: str = Field(description="`checkpoint` (all weights) or `LoRA adapter` (merged into the base)")
    digest: str = Field(description="SHA-256 over the weights that differ")
    compared: int = Field(ge=0, description="weights that were compared")
    remarks: list[str] = Field(default_factory=list, description="what is to be known of it, such as rounded weights")
    edited_weights: list[EditedWeightRecord] = Field(
        default_factory=list, description="the weights that differ from the base's, rounding aside"
    )
