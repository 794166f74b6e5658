"""The model and its loss as functions, which FedREDefense trains on knowledge that it distils itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from fedsiege.learners.base import VirtualTask
from fedsiege.learners.virtual import ModuleTask
from fedsiege.updates import BlockSpec, ModelSpec

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Given outputs ``(count, classes)`` and label logits of the same shape: a scalar, twice differentiable."""


class LossTask(ModuleTask):
    """`ModuleTask` with a loss of the user's own."""

    def __init__(
        self, module: nn.Module, input_shape: Sequence[int], num_classes: int, spec: ModelSpec, own: Loss
    ) -> None:
        super().__init__(module, input_shape, num_classes, spec)
        self.own = own

    def loss(self, params: Mapping[str, torch.Tensor], knowledge: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the user's loss of the module's output and the label logits."""
        return self.own(self.output(params, knowledge["inputs"]), knowledge["labels"])


def module_task(
    module: nn.Module, input_shape: Sequence[int], num_classes: int, loss: Loss | None = None
) -> VirtualTask:
    """Return training of a network on distilled knowledge, for ``DefendedStrategy(..., virtual=...)``.

    The model's arrays must carry the network's parameters under their own names, as `ArrayRecord` of its
    ``state_dict()`` does. Buffers take no part: they stay as `module` has them, and the network runs in evaluation
    mode, so prefer group normalisation to batch normalisation.

    Parameters
    ----------
    module : torch.nn.Module
        The network, from inputs ``(count, *input_shape)`` to logits ``(count, num_classes)``. Its values are not
        read.
    input_shape : sequence of int
        Shape of one input.
    num_classes : int
        Number of outputs.
    loss : callable, optional
        See `Loss`; default: the cross entropy with softmax(label logits), averaged over samples and classes. With
        several workers it must be importable, not a lambda.
    """
    spec = ModelSpec(tuple(BlockSpec(name, tuple(p.shape)) for name, p in module.named_parameters()))
    if loss is None:
        return ModuleTask(module, input_shape, num_classes, spec)
    return LossTask(module, input_shape, num_classes, spec, loss)
