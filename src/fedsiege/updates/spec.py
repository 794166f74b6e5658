"""What a model's shared parameters look like: names, shapes and which axis is a table of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Axis = Literal["items", "dense"]


@dataclass(frozen=True)
class BlockSpec:
    """One named block of shared parameters.

    Parameters
    ----------
    name : str
        Name that attacks and defenses may refer to, such as ``"items"``.
    shape : tuple of int
        Shape of the parameter; for a table ``(rows, dim)``.
    axis : {"items", "dense"}
        ``"items"`` for a table of which a client touches some rows (its uploads are row-sparse), else ``"dense"``.
    """

    name: str
    shape: tuple[int, ...]
    axis: Axis = "dense"


@dataclass(frozen=True)
class ModelSpec:
    """The shared blocks of a model, in a fixed order. Personal parameters never appear here."""

    blocks: tuple[BlockSpec, ...]

    def __getitem__(self, name: str) -> BlockSpec:
        """Return the block called `name`; KeyError if there is none."""
        for block in self.blocks:
            if block.name == name:
                return block
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Block names in order."""
        return tuple(block.name for block in self.blocks)

    @property
    def item_table(self) -> BlockSpec | None:
        """The table of item embeddings, or None for a model that has none."""
        return next((block for block in self.blocks if block.axis == "items"), None)
