"""Settings of defenses that suit a model and a data set, for what a configuration leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedsiege.arena.paper import icml24


def suited(name: str, model: Any, dataset: str | None) -> dict[str, Any]:
    """Return the settings of defense `name` that take the place of its defaults on a model and a data set.

    A model gives its own in ``defenses``, by name of the defense. On the data sets of Xie et al., ICML 2024,
    FedREDefense has the rates and caps of their Table 7.
    """
    found = dict(getattr(model, "defenses", {}).get(name, {}))
    if name == "redefense" and dataset is not None:
        found |= icml24()["table7"].get(dataset, {})
    return found


def completed(name: str, values: Any, model: Any, dataset: str | None) -> Any:
    """Return `values`, the settings of defense `name`, with those that suit where it leaves them out.

    What is no mapping comes back as it is, for the check of types to refuse. The rule of `flcert` is completed too.
    """
    if not isinstance(values, Mapping):
        return values
    found = {**suited(name, model, dataset), **values}
    rule = found.get("rule")
    if name == "flcert" and rule is not None:
        inner = {"name": rule} if isinstance(rule, str) else rule
        if isinstance(inner, Mapping) and (more := suited(str(inner.get("name")), model, dataset)):
            found["rule"] = {**more, **inner}
    return found
