"""Which runs may be compared, and what to call them: groups, attacks and defenses of configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

# Sections that a group leaves free, and settings that only decide what is drawn. A threat-model card gives a group
# its name; what the card fixes stands in the other sections.
_FREE_SECTIONS = ("seed", "attack", "defense", "card")
_DRAWING_ONLY = ("federation.project_every",)
_SHARE = "federation.malicious"


@dataclass(frozen=True)
class Label:
    """What a run is called in a report.

    Parameters
    ----------
    group : str
        Everything but attack, defense and seed; only runs of one group are compared.
    attack, defense : str
        The plug-in's name, with those hyper-parameters that differ inside the group.
    variant : str
        Equal for runs that differ in nothing but their seed.
    family : str
        Equal for groups that differ only in the share of malicious clients.
    """

    group: str
    attack: str
    defense: str
    variant: str
    family: str


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _varying(variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys, in order, whose values are not the same in all of `variants`."""
    keys = list(dict.fromkeys(key for variant in variants for key in variant))
    return [key for key in keys if len({_key({"": variant.get(key)}) for variant in variants}) > 1]


def _describe(values: Mapping[str, Any], keys: Sequence[str]) -> str:
    last = [key.rpartition(".")[2] for key in keys]
    short = [end if last.count(end) == 1 else key for key, end in zip(keys, last)]
    return ", ".join(f"{name}={values[key]}" for key, name in zip(keys, short) if key in values)


def _plugin_labels(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one label per plug-in: its name, and the hyper-parameters that tell it from its namesakes."""
    flats = [flatten(spec) for spec in specs]
    namesakes: dict[str, dict[str, dict[str, Any]]] = {}
    for flat in flats:
        namesakes.setdefault(str(flat["name"]), {})[_key(flat)] = flat
    varying = {name: _varying(list(different.values())) for name, different in namesakes.items()}
    labels = []
    for flat in flats:
        name = str(flat["name"])
        told = _describe(flat, varying[name])
        labels.append(f"{name} ({told})" if told else name)
    return labels


def dataset_name(config: Mapping[str, Any]) -> str:
    """Return the name of a configuration's data set: its catalogue name, or its file's."""
    data = config["dataset"]
    return str(data.get("name") or PurePath(str(data.get("path"))).name)


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage without idle zeros."""
    return f"{100 * share:.4g}%"


def _base(config: Mapping[str, Any]) -> str:
    """Return what a group is called before what tells it from its neighbours: its card, or data, model and share."""
    card = config.get("card")
    if card:
        return " · ".join(str(part) for part in (card["id"], card.get("degree")) if part)
    share = percent(float(config["federation"]["malicious"]))
    return f"{dataset_name(config)} · {config['model']['name']} · {share} malicious"


def label_runs(configs: Sequence[Mapping[str, Any]]) -> list[Label]:
    """Return the label of each resolved configuration (as `RunConfig.to_dict` writes it), in order."""
    settings, families, bases = [], [], []
    for config in configs:
        flat = flatten({k: v for k, v in config.items() if k not in _FREE_SECTIONS})
        setting = {k: v for k, v in flat.items() if k not in _DRAWING_ONLY}
        settings.append(setting)
        families.append(_key({k: v for k, v in setting.items() if k != _SHARE}))
        bases.append(_base(config))
    keys = [_key(setting) for setting in settings]
    groups = [""] * len(configs)
    for base in dict.fromkeys(bases):
        distinct = {keys[i]: settings[i] for i in range(len(configs)) if bases[i] == base}
        differing = _varying(list(distinct.values()))
        for i in range(len(configs)):
            if bases[i] == base:
                extra = _describe(settings[i], differing)
                groups[i] = f"{base} · {extra}" if extra else base
    attacks, defenses = [""] * len(configs), [""] * len(configs)
    for group in dict.fromkeys(groups):
        members = [i for i in range(len(configs)) if groups[i] == group]
        for i, attack, defense in zip(
            members,
            _plugin_labels([configs[i]["attack"] for i in members]),
            _plugin_labels([configs[i]["defense"] for i in members]),
        ):
            attacks[i], defenses[i] = attack, defense
    idle = ("seed", *_DRAWING_ONLY)
    variants = [_key({k: v for k, v in flatten(c).items() if k not in idle}) for c in configs]
    return [Label(*parts) for parts in zip(groups, attacks, defenses, variants, families)]
