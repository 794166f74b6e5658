"""A run's configuration: one YAML, fully validated before anything is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from fedsiege import registry
from fedsiege.arena.card_ref import CardRef
from fedsiege.arena.suited import completed
from fedsiege.arena.validate import build, plain
from fedsiege.attacks.base import Attack
from fedsiege.attacks.wrapper import Wrapper
from fedsiege.capabilities import misfit
from fedsiege.data.partition import MINIMUM, Kind
from fedsiege.defenses.base import Defense
from fedsiege.defenses.compose import Pipeline, compose
from fedsiege.errors import ConfigError, nearest
from fedsiege.federation.loop import FederationConfig
from fedsiege.federation.server import ServerConfig
from fedsiege.files import read_yaml

CLIENTS = 100
"""Clients of a federation of images, unless another number is asked for."""

DIVIDED: Mapping[str, tuple[str, Any]] = {
    "beta": ("dirichlet", 0.1),
    "balanced": ("dirichlet", True),
    "minimum": ("dirichlet", MINIMUM),
    "shards": ("shards", 2),
}
"""Fields of `DatasetConfig` that one partition alone reads: which, and the value that stands in for None."""

RANKED = ("reserved", "evaluate_users", "cutoffs")
"""Fields of `FederationConfig` that choose who is scored and on what ranks: of recommenders alone."""


@dataclass(frozen=True)
class DatasetConfig:
    """What the clients hold: interactions, one user a client, or images divided among them.

    Parameters
    ----------
    name : str or None
        A named data set (``fedsiege list``).
    path : str or None
        A file of one's own instead, relative to the configuration file.
    format : str or None
        Its format, if the name of the file does not tell.
    users, items, interactions : int or None
        Size of the ``synthetic`` data set.
    protocol : {"fair", "paper"}
        Whether training negatives may be held-out items (``fair``), or spare them, as the public code of the AAAI
        2023 paper does, which lets clients know what is held out.
    clients : int or None
        Of images: number of clients (100).
    partition : {"dirichlet", "iid", "shards"} or None
        Of images: how they are divided; see `fedsiege.data.partition` (dirichlet). Of the next four, those that
        another partition reads are refused, unless at their default.
    beta : float or None
        Concentration of the Dirichlet distribution over labels, > 0; small is far from IID (0.1).
    balanced : bool or None
        Whether a Dirichlet partition gives all clients equally many samples (true).
    minimum : int or None
        Samples that each client of a Dirichlet partition must hold, at least 0 (10).
    shards : int or None
        Shards of one label that each client of a shards partition gets, at least 1 (2).
    samples : int or None
        Use so many training images, drawn at random, instead of all. Clients hold no others; the server's own clean
        samples (`fltrust`) are drawn from all training images nevertheless.
    """

    name: str | None = None
    path: str | None = None
    format: str | None = None
    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    protocol: Literal["fair", "paper"] = "fair"
    clients: int | None = None
    partition: Literal["dirichlet", "iid", "shards"] | None = None
    beta: float | None = None
    balanced: bool | None = None
    minimum: int | None = None
    shards: int | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        """Require exactly one source, and no field that the partition does not read (ConfigError)."""
        if (self.name is None) == (self.path is None):
            raise ConfigError("dataset needs either `name` (see `fedsiege list`) or `path`, and not both")
        for name, (kind, usual) in DIVIDED.items():
            value = getattr(self, name)
            if value is not None and value != usual and kind != self.kind:
                raise ConfigError(
                    f"dataset.{name} applies to partition {kind} only, not to {self.kind}; set `partition: {kind}`, "
                    f"or leave {name} out (null)"
                )

    @property
    def kind(self) -> Kind:
        """How images are divided."""
        return self.partition or "dirichlet"


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result.

    Parameters
    ----------
    dataset : DatasetConfig
        The clients' data.
    model, attack, defense : object
        Plug-ins with their hyper-parameters.
    federation : FederationConfig
        Clients, rounds, malicious share, evaluation.
    server : ServerConfig
        Server optimizer.
    seed : int
        Address of all randomness.
    plugins : tuple of str
        Python files with plug-ins of one's own.
    card : CardRef, optional
        The threat-model card that the run belongs to. It decides nothing and does not enter the hash.
    """

    dataset: DatasetConfig
    model: Any
    attack: Attack
    defense: Defense
    federation: FederationConfig = field(default_factory=FederationConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    seed: int = 0
    plugins: tuple[str, ...] = ()
    card: CardRef | None = None

    def __post_init__(self) -> None:
        """Refuse plug-ins that ask for what the model does not offer, and settings that it ignores (ConfigError)."""
        for what, plugin in (("attack", self.attack), ("defense", self.defense)):
            if reason := misfit(what, plugin.name, plugin.needs, self.model.name, self.model.provides):
                raise ConfigError(reason)
        if getattr(self.model, "data", None) == "images":
            self._refuse_ranking()

    def _refuse_ranking(self) -> None:
        """Refuse what decides who is scored and how among users: a classifier is scored on all test images."""
        if self.dataset.protocol != "fair":
            raise ConfigError(
                f"dataset.protocol = {self.dataset.protocol!r} is about negatives of recommenders, and model "
                f"{self.model.name!r} has none; leave it out"
            )
        for name in RANKED:
            usual = self.model.federation.get(name, getattr(FederationConfig, name))
            value = getattr(self.federation, name)
            if value != usual:
                shown = [list(v) if isinstance(v, tuple) else v for v in (value, usual)]
                raise ConfigError(
                    f"federation.{name} = {shown[0]} is for recommenders, and model {self.model.name!r} is scored on "
                    f"all test images; leave it out, or set it to {json.dumps(shown[1])}"
                )

    @property
    def metric(self) -> str:
        """The test metric that stands for the run, such as ``"HR@5"`` or ``"TACC"``."""
        return getattr(self.model, "metric", None) or f"HR@{self.federation.cutoffs[0]}"

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of the test scores that a run may have; none of a model of another package, which alone knows them."""
        if not type(self.model).__module__.startswith("fedsiege."):
            return ()
        if getattr(self.model, "data", None) == "images":
            return ("TACC", "ASR")
        return tuple(f"{name}@{k}" for k in self.federation.cutoffs for name in ("HR", "NDCG"))

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved configuration as plain values; `parse` of it gives the same configuration."""
        return {
            "seed": self.seed,
            "dataset": {k: v for k, v in plain(self.dataset).items() if v is not None},
            "model": named(self.model),
            "attack": named(self.attack),
            "defense": named(self.defense),
            "federation": plain(self.federation),
            "server": plain(self.server),
            **({"plugins": list(self.plugins)} if self.plugins else {}),
            **({"card": self.card.to_dict()} if self.card else {}),
        }

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that identify the resolved configuration."""
        values = {name: value for name, value in self.to_dict().items() if name != "card"}
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def with_seed(self, seed: int) -> RunConfig:
        """Return the same configuration under another seed."""
        return replace(self, seed=seed)


def named(plugin: Any) -> dict[str, Any]:
    """Return a plug-in as ``{"name": …, parameters}``; one made of others holds their parameters by name."""
    if isinstance(plugin, Pipeline):
        parts: dict[str, Any] = {}
        for part in plugin.parts:
            parts[part.name] = plain(part)
        return {"name": plugin.name, **parts}
    if isinstance(plugin, Wrapper):
        inner = {k: v for k, v in named(plugin.attack).items() if k != "name"}
        own = {k: v for k, v in plain(plugin).items() if k != "attack"}
        return {"name": plugin.name, **own, plugin.attack.name: inner}
    return {"name": plugin.name, **plain(plugin)}


def plugin(kind: registry.Kind, spec: Any, complete: Callable[[str, Any], Any] = lambda name, values: values) -> Any:
    """Return the plug-in that `spec` describes: a name, or a mapping with ``name`` and hyper-parameters.

    Defenses may be composed as ``a+b``; the parameters of each part then stand under its name. Any attack may be
    wrapped as ``adaptive(a)`` or ``noise(a)``; its parameters then stand under its name too. `complete` gives the
    settings of each part, by its name and those that `spec` has for it.

    Raises
    ------
    ConfigError
        For an unknown name or field, or a value of the wrong type.
    """
    what = registry.SINGULAR[kind]
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise ConfigError(f"{what} must be a name or a mapping with a `name`, got {spec!r}")
    name = spec["name"]
    values = {k: v for k, v in spec.items() if k != "name"}
    inner = registry.wrapped(kind, name)
    if inner is not None:
        return _wrapped(*inner, values, f"{what} ({name})")
    if kind == "defenses" and "+" in name and name not in registry.entries(kind):
        parts = name.split("+")
        for key in values:
            if key not in parts:
                raise ConfigError(f"{what} ({name}) has no part {key!r}: {nearest(str(key), parts)}")
        stated = {part: complete(part, values.get(part) or {}) for part in parts}
        return compose(tuple(build(registry.load(kind, part), stated[part], f"{what} ({part})") for part in parts))
    return build(registry.load(kind, name), complete(name, values), f"{what} ({name})")


def _wrapped(wrapper: str, name: str, values: Mapping[str, Any], where: str) -> Wrapper:
    """Return the attack called `name` in a `wrapper`; `values` are the wrapper's own and, under `name`, the attack's.

    Raises
    ------
    ConfigError
        As `plugin`; `where` is how to call the wrapper.
    """
    own = {k: v for k, v in values.items() if k != name}
    within = values.get(name) or {}
    if not isinstance(within, Mapping):
        raise ConfigError(f"{where}, field {name!r}: must be a mapping of its parameters, got {within!r}")
    cls = registry.load_wrapper(wrapper)
    known = [f.name for f in fields(cls) if f.name != "attack"]
    for key in own:
        if key not in known:
            raise ConfigError(f"{where} has no field {key!r}: {nearest(str(key), [*known, name])}")
    return build(cls, {**own, "attack": plugin("attacks", {**within, "name": name})}, where)


def is_images(data: DatasetConfig) -> bool:
    """Return whether a data set holds images."""
    from fedsiege.data import images

    return images.is_images(str(data.name or data.path), data.format)


def _default_model(data: DatasetConfig) -> str:
    """Return the name of the model that a configuration without one takes."""
    if not is_images(data):
        return "mf"
    # The CNN's two poolings leave nothing of 8 × 8 pixels.
    return "mlp" if data.name == "digits" else "cnn"


SECTIONS = ("dataset", "model", "attack", "defense", "federation", "server", "seed", "plugins", "card")


def parse(values: Any, base: Path | None = None) -> RunConfig:
    """Return the validated configuration of a mapping read from YAML.

    Parameters
    ----------
    values : mapping
        Sections ``dataset``, ``model``, ``attack``, ``defense``, ``federation``, ``server``, ``seed``, ``plugins``
        and ``card``; all but ``dataset`` have defaults. The model's is ``mf`` for interactions, ``cnn`` for images
        and ``mlp`` for ``digits``. Settings of a defense that are left out are those that suit the model and the data
        set (`fedsiege.arena.suited`), else the defense's own.
    base : Path, optional
        Folder to which relative paths refer.

    Raises
    ------
    ConfigError
        Naming the first thing that is wrong and the nearest valid name.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"a configuration is a mapping of {', '.join(SECTIONS)}; got {type(values).__name__}")
    for name in values:
        if name not in SECTIONS:
            raise ConfigError(f"a configuration has no section {name!r}: {nearest(str(name), SECTIONS)}")
    if "dataset" not in values:
        raise ConfigError("a configuration needs a `dataset` section, such as `dataset: ml-1m`")
    folder = base or Path()
    listed = values.get("plugins") or ()
    if not isinstance(listed, list | tuple):
        raise ConfigError(f"plugins must be a list of files, such as [{listed}]")
    plugins = tuple(map(str, listed))
    registry.load_files((folder / file).resolve() for file in plugins)
    dataset = values["dataset"]
    if isinstance(dataset, str):
        dataset = {"name": dataset}
    for name in ("dataset", "federation", "server", "card"):
        if not isinstance(values.get(name, {}) if name != "dataset" else dataset, Mapping):
            raise ConfigError(f"section {name!r} must be a mapping")
    seed = values.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed must be an integer, got {seed!r}")
    data = build(DatasetConfig, dataset, "dataset")
    if data.path is not None:
        data = replace(data, path=str((folder / data.path).resolve()))
    card = build(CardRef, values["card"], "card") if values.get("card") else None
    model = plugin("models", values.get("model") or _default_model(data))
    suit = partial(completed, model=model, dataset=data.name)
    sections = {name: {**getattr(model, name, {}), **(values.get(name) or {})} for name in ("federation", "server")}
    return RunConfig(
        data,
        model,
        cast(Attack, plugin("attacks", values.get("attack", "none"))),
        cast(Defense, plugin("defenses", values.get("defense", "none"), suit)),
        build(FederationConfig, sections["federation"], "federation"),
        build(ServerConfig, sections["server"], "server"),
        seed,
        tuple(str((folder / p).resolve()) for p in plugins),
        card,
    )


def read(path: Path) -> RunConfig:
    """Read and validate a YAML configuration; ConfigError names file and cause."""
    values = read_yaml(path, "configuration")
    try:
        return parse(values, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
