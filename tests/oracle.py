"""ODConv by its definition, in float64 and plain loops: slow, obvious, and sharing nothing with ``odconv``.

    z = ReLU(BN(A · GAP(x)))
    a_c = σ((C z + b)/T)    a_f = σ((F z + b)/T)    a_s = σ((S z + b)/T)    a_w = softmax((K z + b)/T)
    y = a_f · [ (a_s · Σ_i a_w,i W_i) * (a_c · x) ]

Li, Zhou, Yao, ICLR 2022, https://arxiv.org/abs/2209.07947, with the BatchNorm of the released code. The layer's part is
torch, so that autograd gives the oracle's gradients too; ``attend`` is numpy.
"""

import numpy as np
import torch

BATCH_NORM_EPS = 1e-5  # torch's default, which the released code leaves alone


def logits(state, x, *, train=False):
    """Raw logits of the attention branch, one dict of head -> (N, entries); ``state`` is a layer's state dict."""
    pooled = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    hidden = torch.einsum("nc,hc->nh", pooled, state["attention.fc.weight"][:, :, 0, 0])
    if train:
        mean = hidden.sum(0) / len(hidden)
        variance = ((hidden - mean) ** 2).sum(0) / len(hidden)
    else:
        mean, variance = state["attention.bn.running_mean"], state["attention.bn.running_var"]
    hidden = (hidden - mean) / (variance + BATCH_NORM_EPS) ** 0.5
    hidden = hidden * state["attention.bn.weight"] + state["attention.bn.bias"]
    hidden = hidden * (hidden > 0)
    heads = {}
    for head in ("spatial", "channel", "filter", "kernel"):
        if f"attention.{head}_fc.weight" in state:
            weight, bias = state[f"attention.{head}_fc.weight"][:, :, 0, 0], state[f"attention.{head}_fc.bias"]
            heads[head] = torch.einsum("nh,eh->ne", hidden, weight) + bias
    return heads


def attentions(heads, temperature=1.0):
    """Head -> gates or shares, from head -> logits (N, entries)."""
    applied = {head: 1 / (1 + torch.exp(-values / temperature)) for head, values in heads.items()}
    if "kernel" in heads:
        powers = torch.exp(heads["kernel"] / temperature)
        applied["kernel"] = powers / powers.sum(1, keepdim=True)
    return applied


def forged(weight, attention, image, groups):
    """What picture ``image`` is convolved with, all four attentions in it: (C_out, C_in / groups, k, k)."""
    kernels, c_out, per_group, k, _ = weight.shape
    total = torch.zeros(c_out, per_group, k, k, dtype=torch.float64)
    for i in range(kernels):
        share = attention["kernel"][image, i] if "kernel" in attention else 1.0
        total = total + share * weight[i]
    if "spatial" in attention:
        total = torch.einsum("ocuv,uv->ocuv", total, attention["spatial"][image].reshape(k, k))
    if "filter" in attention:
        total = torch.einsum("ocuv,o->ocuv", total, attention["filter"][image])
    if "channel" not in attention:
        return total
    # Output channel o belongs to group o // (C_out / groups) and sees that group's input channels.
    channel = attention["channel"][image].reshape(groups, per_group).repeat_interleave(c_out // groups, 0)
    return torch.einsum("ocuv,oc->ocuv", total, channel)


def convolve(picture, kernel, stride, padding, dilation, groups):
    """Cross-correlation of one picture (C_in, H, W) with one kernel (C_out, C_in / groups, k, k), tap by tap."""
    c_in, height, width = picture.shape
    c_out, per_group, k, _ = kernel.shape
    padded = torch.zeros(c_in, height + 2 * padding[0], width + 2 * padding[1], dtype=torch.float64)
    padded[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width] = picture
    rows = (padded.shape[1] - dilation[0] * (k - 1) - 1) // stride[0] + 1
    columns = (padded.shape[2] - dilation[1] * (k - 1) - 1) // stride[1] + 1
    outputs = []
    for group in range(groups):
        inputs = padded[group * per_group : (group + 1) * per_group]
        filters = kernel[group * (c_out // groups) : (group + 1) * (c_out // groups)]
        total = torch.zeros(len(filters), rows, columns, dtype=torch.float64)
        for u in range(k):
            for v in range(k):
                seen = inputs[:, u * dilation[0] :: stride[0], v * dilation[1] :: stride[1]][:, :rows, :columns]
                total = total + torch.einsum("oc,cyx->oyx", filters[:, :, u, v], seen)
        outputs.append(total)
    return torch.cat(outputs)


def od_conv2d(x, weight, attention, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """One picture after the other, each with its own materialised kernel. ``attention``: head -> (N, entries)."""
    return torch.stack(
        [convolve(x[n], forged(weight, attention, n, groups), stride, padding, dilation, groups) for n in range(len(x))]
    )


def layer(state, x, *, train=False, temperature=1.0, **where):
    """A whole ODConv layer from its state dict."""
    return od_conv2d(x, state["weight"], attentions(logits(state, x, train=train), temperature), **where)


def attend(
    heads,
    *,
    temperature=1.0,
    tempered=(),
    kernels=None,
    keep="first",
    compensate=False,
    ablate=(),
    replaced=None,
    seed=0,
    layers=None,
):
    """Order of operations: keep, divide, squash, compensate, ablate or replace; one picture, one head at a time, in numpy.

    ``heads``: head -> logits of shape (N, ...). ``tempered`` must be given: nothing here has a default worth testing.
    ``temperature``: a number, or four: of spatial, channel, filter and kernel attention.
    """
    order = ("spatial", "channel", "filter", "kernel")
    of = dict(zip(order, temperature, strict=True)) if np.ndim(temperature) else dict.fromkeys(order, temperature)
    rules = dict(zip(order, replaced, strict=True)) if replaced else dict.fromkeys(order)
    return {
        head: np.stack(
            [
                _shares(one, head, of[head], tempered, kernels, keep, ablate, rules[head], seed)
                if head == "kernel"
                else _gates(one, head, of[head], tempered, compensate, ablate, rules[head], seed)
                for one in np.asarray(values, dtype=np.float64)
            ]
        )
        for head, values in heads.items()
    }


def _sigmoid(values):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-values))


def shuffle(values, seed):
    """Walk through the entries in a random order: each gets the value of the one before, the first that of the last."""
    values, walk = list(values), torch.randperm(len(values), generator=torch.Generator().manual_seed(seed)).tolist()
    moved = list(values)
    for before, here in zip([walk[-1], *walk[:-1]], walk, strict=True):
        moved[here] = values[before]
    return moved


def _first_largest(values):
    return max(range(len(values)), key=lambda i: (values[i], -i))


def _gates(values, head, temperature, tempered, compensate, ablate, rule, seed):
    gates = _sigmoid(values / temperature if head in tempered else values)
    if compensate and head in tempered:
        gates = gates * (_sigmoid(values).mean() / gates.mean())
    if head in ablate:
        gates = np.full_like(gates, gates.mean())
    if rule == "uniform":
        gates = np.full_like(gates, 0.5)
    if rule == "argmax":
        total, largest = gates.sum(), _first_largest(list(values.ravel()))
        gates = np.zeros_like(gates)
        gates.flat[largest] = total
    if rule == "shuffled":
        gates = np.array(shuffle(gates.ravel(), seed)).reshape(gates.shape)
    return gates


def _shares(values, head, temperature, tempered, kernels, keep, ablate, rule, seed):
    count = len(values) if kernels is None else min(kernels, len(values))
    ranked = sorted(range(len(values)), key=lambda i: (-values[i], i)) if keep == "strongest" else range(len(values))
    kept = list(ranked)[:count]
    scaled = {i: values[i] / temperature if head in tempered else values[i] for i in kept}
    top = max(scaled.values())
    powers = {i: np.exp(value - top) for i, value in scaled.items()}
    shares = np.zeros(len(values))
    for i in kept:
        shares[i] = 1 / count if head in ablate or rule == "uniform" else powers[i] / sum(powers.values())
    if rule == "argmax":
        best = _first_largest([values[i] if i in kept else -np.inf for i in range(len(values))])
        shares = np.eye(len(values))[best]
    if rule == "shuffled":
        places = sorted(kept)
        shares[places] = shuffle(shares[places], seed)
    return shares
