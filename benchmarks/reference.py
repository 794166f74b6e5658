"""The plain reference that the benchmarks compare with: one client after another, autograd, dense tables.

It is what a careful reader of the papers would write first: no batching over clients, no sparsity, no kernels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

RNG = np.random.default_rng(0)


class PlainMF:
    """Federated MF with BPR: dense item gradients per client, one dense Adam over items and users."""

    def __init__(self, store, users: int, items: int, dim: int = 64, dropout: float = 0.2, lr: float = 2e-3):
        self.store, self.dropout, self.num_items = store, dropout, items
        self.items = nn.Parameter(nn.init.xavier_uniform_(torch.empty(items, dim)))
        self.users = nn.Parameter(nn.init.xavier_uniform_(torch.empty(users, dim)))
        self.adam = torch.optim.Adam([self.items, self.users], lr=lr)

    def _mine(self, client: int) -> tuple[torch.Tensor, torch.Tensor]:
        span = slice(self.store.indptr[client], self.store.indptr[client + 1])
        return (
            torch.from_numpy(self.store.items[span]).long(),
            torch.from_numpy(self.store.negatives[span]).long(),
        )

    def contrastive(self, table: torch.Tensor, mine: torch.Tensor, negatives: int = 15) -> torch.Tensor:
        held = torch.zeros(self.num_items, dtype=torch.bool)
        held[mine] = True
        others = torch.nonzero(~held)[:, 0]
        shift = torch.randint(1, len(mine), (len(mine),))
        positive = mine[(torch.arange(len(mine)) + shift) % len(mine)]
        drawn = torch.stack([others[torch.randperm(len(others))[:negatives]] for _ in mine])
        anchor = table[mine]
        logits = torch.cat([(anchor * table[positive]).sum(1, keepdim=True),
                            torch.einsum("ld,lpd->lp", anchor, table[drawn])], dim=1)  # fmt: skip
        return F.cross_entropy(logits, torch.zeros(len(mine), dtype=torch.long))

    def gradient(self, client: int, union: bool) -> tuple[torch.Tensor, torch.Tensor]:
        table = self.items.detach().clone().requires_grad_()
        user = self.users[client].detach().clone().requires_grad_()
        positive, negative = self._mine(client)
        u = F.dropout(user.expand(len(positive), -1), self.dropout)
        p, n = F.dropout(table[positive], self.dropout), F.dropout(table[negative], self.dropout)
        loss = -torch.log(torch.sigmoid((u * (p - n)).sum(1)) + 1e-8).mean()
        loss = loss + 0.5e-5 * (user.square().sum() + table[torch.cat([positive, negative]).unique()].square().sum())
        if union:
            loss = loss + self.contrastive(table, positive)
        return torch.autograd.grad(loss, (table, user))

    def round(self, cohort: np.ndarray, defense: str = "none") -> None:
        uploads, weights = [], []
        self.users.grad = torch.zeros_like(self.users)
        for client in cohort:
            grad, user_grad = self.gradient(int(client), defense != "none")
            uploads.append(grad)
            self.users.grad[client] = user_grad
            weights.append(float(self.store.indptr[client + 1] - self.store.indptr[client]))
        kept = range(len(uploads)) if defense == "none" else multikrum_union(uploads, self.items.detach(), 2e-3, 3)
        total = sum(weights[i] for i in kept)
        self.items.grad = sum(uploads[i] * (weights[i] / total) for i in kept)
        self.adam.step()


def multikrum_union(uploads: list[torch.Tensor], table: torch.Tensor, lr: float, f: int) -> list[int]:
    """UNION's filter, then MultiKrum, each as the papers write them."""
    sample = torch.randint(0, len(table), (500,))
    scores = [float(F.pdist((table - lr * g)[sample]).square().mean()) for g in uploads]
    kept = union_filter(scores)
    flat = [uploads[i].flatten() for i in kept]
    n = len(flat)
    distances = torch.zeros(n, n)
    for i in range(n):
        for j in range(i):
            distances[i, j] = distances[j, i] = (flat[i] - flat[j]).square().sum()
    krum = [float(distances[i].sort().values[1 : n - f - 1].sum()) for i in range(n)]
    order = sorted(range(n), key=krum.__getitem__)[: n - f]
    return [kept[i] for i in order]


def _cost(points: list[float], k: int) -> tuple[float, list[int]]:
    points = np.asarray(points)
    if k == 1:
        return float(((points - points.mean()) ** 2).sum()), [0] * len(points)
    order = np.argsort(points)
    best = None
    for cut in range(1, len(points)):
        low, high = points[order[:cut]], points[order[cut:]]
        cost = float(((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum())
        if best is None or cost < best[0]:
            labels = np.zeros(len(points), int)
            labels[order[cut:]] = 1
            best = (cost, labels.tolist())
    return best


def union_filter(scores: list[float], references: int = 50) -> list[int]:
    """Gap statistics in plain loops; positions of the uploads that stay."""
    d = np.asarray(scores)
    d = (d - d.min()) / max(np.ptp(d), 1e-30)
    gaps, spread, labels = [], [], []
    for k in (1, 2):
        cost, labels = _cost(d, k)
        logs = [np.log(_cost(RNG.random(len(d)), k)[0]) for _ in range(references)]
        gaps.append(np.mean(logs) - np.log(max(cost, 1e-30)))
        spread.append(np.std(logs) * np.sqrt(1 + 1 / references))
    if gaps[0] < gaps[1] - spread[1]:
        major = int(np.mean(labels) >= 0.5)
        return [i for i, label in enumerate(labels) if label == major]
    return list(range(len(d)))


class PlainSASRec:
    """Federated SASRec, one client after another: the module's own autograd, dense item gradients, dense Adam."""

    def __init__(self, store, items: int, max_len: int = 200, dim: int = 64, dropout: float = 0.2, lr: float = 1e-3):
        self.store, self.max_len = store, max_len
        self.net = PlainNet(items, max_len, dim, dropout)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=lr)

    def round(self, cohort: np.ndarray) -> None:
        uploads, weights = [], []
        for client in cohort:
            span = slice(self.store.indptr[client], self.store.indptr[client + 1])
            items = torch.from_numpy(self.store.items[span]).long()[-(self.max_len + 1) :]
            negatives = torch.from_numpy(self.store.negatives[span]).long()[-(self.max_len + 1) :]
            h = self.net(items[:-1])
            x = (h * (self.net.items.weight[items[1:]] - self.net.items.weight[negatives[1:]])).sum(-1)
            loss = -torch.log(torch.sigmoid(x) + 1e-8).mean()
            uploads.append(torch.autograd.grad(loss, list(self.net.parameters())))
            weights.append(float(len(items) - 1))
        total = sum(weights)
        for i, parameter in enumerate(self.net.parameters()):
            parameter.grad = sum(u[i] * (w / total) for u, w in zip(uploads, weights))
        self.adam.step()


class PlainNet(nn.Module):
    """SASRec's network for one sequence."""

    def __init__(self, items: int, max_len: int, dim: int, dropout: float, layers: int = 2):
        super().__init__()
        self.items = nn.Embedding(items, dim)
        self.position = nn.Embedding(max_len, dim)
        self.drop = nn.Dropout(dropout)
        self.first = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.attention = nn.ModuleList(nn.MultiheadAttention(dim, 1, dropout, batch_first=True) for _ in range(layers))
        self.second = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim), nn.Dropout(dropout))
            for _ in range(layers)
        )
        self.last = nn.LayerNorm(dim)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        length = len(sequence)
        x = self.items(sequence) * self.items.embedding_dim**0.5 + self.position(torch.arange(length))
        x = self.drop(x)[None]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        for first, attention, second, feed in zip(self.first, self.attention, self.second, self.feed):
            q = first(x)
            x = q + attention(q, x, x, attn_mask=mask, need_weights=False)[0]
            x = second(x)
            x = x + feed(x)
        return self.last(x)[0]
