"""Whether an attack or a defense fits the images of a federation, asked before its first round."""

from __future__ import annotations

from fedsiege.data.federated import FederatedImages


def check_reach(plugin: object, data: object) -> None:
    """Refuse an attack that aims outside the images, or a defense that asks for more of them than there are.

    A plug-in says so itself, in a method ``check_images(images)``, given the `ImageDataset`; one made of others in that
    of its ``parts``. One without it, and data that are not images, pass.

    Raises
    ------
    ConfigError
        Naming the plug-in's field and what is allowed.
    """
    if not isinstance(data, FederatedImages):
        return
    for part in getattr(plugin, "parts", (plugin,)):
        if check := getattr(part, "check_images", None):
            check(data.dataset)
