"""Decoding of images that lie in memory as PNG or JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np

from fedsiege.errors import DataError


def decode(encoded: Sequence[bytes], where: Callable[[int], str], channels: int | None = None) -> np.ndarray:
    """Return images of one size as uint8, shape (n, C, H, W).

    Parameters
    ----------
    encoded : sequence of bytes
        PNG, JPEG or whatever Pillow reads.
    where : function
        Gives the words that name image i in an error.
    channels : {1, 3} or None
        Grey or colour; None means grey if all images are grey, else colour.

    Raises
    ------
    DataError
        If an image is damaged, of another size than the first, or has values that 8 bits cannot hold.
    """
    from PIL import Image, UnidentifiedImageError

    out: np.ndarray | None = None
    mode = {None: "L", 1: "L", 3: "RGB"}[channels]
    for i, data in enumerate(encoded):
        try:
            with Image.open(io.BytesIO(data)) as picture:
                levels = np.asarray(picture) if picture.mode.startswith(("I", "F")) else None
                colour = channels is None and picture.mode not in ("L", "1")
                pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        # Pillow raises many kinds: OSError, SyntaxError, ValueError, its own for decompression bombs.
        except Exception as error:
            # Pillow names the buffer, which says nothing to anyone.
            why = "no image that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
            raise DataError(
                f"{where(i)} cannot be decoded ({why}); replace or remove it; data that were downloaded: remove them "
                "all and fetch them again"
            ) from error
        if colour:
            return decode(encoded, where, 3)
        if levels is not None:
            _check_levels(levels, where(i))
        if out is None:
            out = np.empty((len(encoded), pixels.shape[0], pixels.shape[1], len(mode)), dtype=np.uint8)
        if pixels.shape[:2] != out.shape[1:3]:
            have, want = ("×".join(map(str, shape)) for shape in (pixels.shape[:2], out.shape[1:3]))
            raise DataError(f"{where(i)} is {have} pixels, the first one {want}; bring them to one size")
        out[i] = pixels.reshape(out.shape[1:])
    if out is None:
        return np.empty((0, channels or 1, 0, 0), dtype=np.uint8)
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def _check_levels(levels: np.ndarray, name: str) -> None:
    """Raise DataError where a grey image of 16 bits or more would turn white, black or flat as one of 8."""
    if ((levels >= 0) & (levels <= 255) & (levels == np.trunc(levels))).all():
        return
    raise DataError(
        f"{name} has grey values from {levels.min():g} to {levels.max():g}, and 8 bits hold 0 to 255; write it anew "
        "with 8 bits, such as value // 257 for 16 bits, value // 16 for 12"
    )
