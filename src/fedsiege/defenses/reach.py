"""What a defense asks of the data of a federation, and whether they suffice."""

from __future__ import annotations

from fedsiege.data.federated import FederatedImages


def check_images(defense: object, data: object) -> None:
    """Refuse a defense that asks more of the training images than a federation holds, before its first round.

    A defense says so itself, in a method ``check_images(total)``, and one made of others in that of its ``parts``; one
    without it, and data that are not images, pass.

    Raises
    ------
    ConfigError
        Naming the defense's field and what is allowed.
    """
    if not isinstance(data, FederatedImages):
        return
    for part in getattr(defense, "parts", (defense,)):
        check_part(part, len(data.dataset.train))


def check_part(part: object, total: int) -> None:
    """Let a defense that is not made of others say whether `total` training images suffice; see `check_images`."""
    check = getattr(part, "check_images", None)
    if check is not None:
        check(total)
