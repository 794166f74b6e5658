"""Range checks of hyper-parameters: one wording for all plug-ins."""

from __future__ import annotations

from numbers import Integral, Real

from fedsiege.errors import ConfigError

WEIGHTINGS = ("samples", "uniform")


def require(ok: bool, field: str, value: object, allowed: str) -> None:
    """Raise a ConfigError that names `field`, its `value` and what is `allowed`, unless `ok`."""
    if not ok:
        raise ConfigError(f"{field} is {value!r}; it must be {allowed}")


def is_real(value: object) -> bool:
    """Tell whether `value` is a finite number (a bool is none)."""
    # NaN and the infinities differ from themselves minus themselves.
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) - float(value) == 0.0


def is_count(value: object) -> bool:
    """Tell whether `value` is an integer of at least 0 (a bool is none)."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that `value` is one of `choices`, at least two words."""
    allowed = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
    require(isinstance(value, str) and value in choices, field, value, allowed)


def check_weighting(field: str, value: object) -> None:
    """Check how accepted uploads are weighted."""
    check_choice(field, value, WEIGHTINGS)


def check_share(field: str, value: object, below: float = 1.0) -> None:
    """Check a number of clients: an int ≥ 0, or a float fraction of the cohort in [0, `below`)."""
    fraction = not isinstance(value, Integral) and is_real(value) and 0.0 <= float(value) < below  # type: ignore[arg-type]
    require(is_count(value) or fraction, field, value, f"an int of at least 0 or a fraction in [0, {below:g})")


def check_regularisation(dropout: object, l2: object) -> None:
    """Check what a recommender is regularised with: a dropout rate in [0, 1), and λ of the L2 term, at least 0."""
    require(is_real(dropout) and 0 <= float(dropout) < 1, "model.dropout", dropout, "a rate in [0, 1)")  # type: ignore[arg-type]
    require(is_real(l2) and float(l2) >= 0, "model.l2", l2, "a number of at least 0")  # type: ignore[arg-type]


def share_of(value: int | float, n: int) -> int:
    """Return a number of clients among `n`: an int as it is, a fraction rounded up.

    Rounding up forgives float error, so 0.07 of 100 is 7 and not 8.
    """
    if isinstance(value, Integral):
        return int(value)
    whole = float(value) * n
    return int(whole + 1.0 - 1e-9)
