"""Training of a network on distilled knowledge: virtual samples with soft labels, as pure functions of tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from fedsiege.errors import ConfigError
from fedsiege.learners.base import ModelView
from fedsiege.learners.fused import fused
from fedsiege.updates import ModelSpec, UpdateBatch

SOFT = 0.01
"""Added to every share of a label that is read from an upload, so that its logit is finite."""


def skeleton(module: nn.Module) -> nn.Module:
    """Return a copy of `module` in evaluation mode whose parameters hold no values, so that it weighs nothing."""
    bare = copy.deepcopy(module).eval()
    emptied: dict[int, nn.Parameter] = {}
    for part in bare.modules():
        for name, param in list(part.named_parameters(recurse=False, remove_duplicate=False)):
            empty = emptied.setdefault(id(param), nn.Parameter(torch.empty_like(param, device="meta")))
            part.register_parameter(name, empty)
            # What was replaced stays alive until the end, so that no two parameters ever share an id.
            emptied[id(empty)] = empty
    return bare


class ModuleTask:
    """A module's training on distilled knowledge, for FedREDefense (Xie et al., ICML 2024, Section 4.2).

    Knowledge is a handful of inputs from N(0, 1) and as many rows of label logits, zero at first. The loss is the
    cross entropy between softmax(logits) and the module's output, averaged over samples and over classes as in the
    authors' code: a `num_classes`-th of the usual mean over samples.

    The module's own values are never read: `problem` takes them from the server's model. It runs in evaluation
    mode, so that nothing random takes part and nothing is remembered. Parameters that require no gradient in it stay
    where they are, as in local training.

    Parameters
    ----------
    module : torch.nn.Module
        The network, from inputs ``(count, *input_shape)`` to logits ``(count, num_classes)``.
    input_shape : sequence of int
        Shape of one input.
    num_classes : int
        Number of classes.
    spec : ModelSpec
        The shared blocks: the module's parameters under their names, in order, all dense.
    """

    def __init__(self, module: nn.Module, input_shape: Sequence[int], num_classes: int, spec: ModelSpec) -> None:
        mine = [(name, tuple(param.shape), "dense") for name, param in module.named_parameters()]
        if mine != [(block.name, block.shape, block.axis) for block in spec.blocks]:
            raise ConfigError(
                "the model's blocks must be its network's parameters, name by name; "
                f"blocks {spec.names}, parameters {tuple(name for name, *_ in mine)}"
            )
        self.frozen = frozenset(name for name, param in module.named_parameters() if not param.requires_grad)
        self.module = fused(skeleton(module))
        self.input_shape, self.num_classes, self.spec = tuple(input_shape), num_classes, spec

    def knowledge(self, count: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Return `count` inputs from N(0, 1) and label logits of zero, both float32."""
        inputs = rng.standard_normal((count, *self.input_shape), np.float32)
        return {"inputs": torch.from_numpy(inputs), "labels": torch.zeros(count, self.num_classes)}

    def problem(self, model: ModelView, upload: UpdateBatch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return the model's parameters and the single `upload`, block by block."""
        names = self.spec.names
        return {n: model.param(n) for n in names}, {n: upload.blocks[n].dense()[0] for n in names}

    def output(self, params: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """Return the module's output; nothing can be differentiated in frozen parameters."""
        given = {name: param.detach() if name in self.frozen else param for name, param in params.items()}
        return cast(torch.Tensor, torch.func.functional_call(self.module, given, (inputs,)))

    @torch.no_grad()
    def read_labels(
        self,
        params: Mapping[str, torch.Tensor],
        target: Mapping[str, torch.Tensor],
        knowledge: Mapping[str, torch.Tensor],
        inner: int,
    ) -> dict[str, torch.Tensor]:
        """Return `knowledge` with label logits that make the last bias move as it does in the upload `target`.

        A step of virtual training moves that bias by rate / classes · (mean label − mean prediction). Taking the
        prediction of the drawn inputs for all `inner` steps, the mean label follows; negative shares count as zero,
        and every sample gets it, a little softened. Knowledge stays as it is where the last block is no bias of the
        classes, or no label has a positive share.
        """
        bias = target[self.spec.names[-1]]
        if tuple(bias.shape) != (self.num_classes,):
            return dict(knowledge)
        inputs, labels = knowledge["inputs"], knowledge["labels"]
        output = self.output(params, inputs.to(bias))
        reach = inner * float(knowledge["rate"]) / self.num_classes
        share = (output.double().softmax(-1).mean(0) + bias.double() / reach).clamp(min=0)
        total = float(share.sum())
        if not 0 < total < float("inf"):
            return dict(knowledge)
        logits = (share / total + SOFT).log().to(labels)
        return {**knowledge, "labels": logits.repeat(labels.shape[0], 1)}

    def loss(self, params: Mapping[str, torch.Tensor], knowledge: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean over samples and classes of −softmax(label logits) · log softmax(output)."""
        output = self.output(params, knowledge["inputs"])
        return -(knowledge["labels"].softmax(-1) * output.log_softmax(-1)).mean()
