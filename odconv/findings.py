"""What a network answers to the tasks that belong to no step of the first lesson. Pure; true of any network and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from odconv.atlas import Atlas, TypicalLayer, distances
from odconv.attention import HEADS, Heads
from odconv.explain import Explanation, LayerRecord
from odconv.kernel_use import KernelUse
from odconv.layer import ODConv2d
from odconv.probe import probe
from odconv.tasks import Finding, Row, largest, percent, smallest
from odconv.tempering import Alone, Reading
from odconv.words import Phrase

STILL = 1e-3  # a gate or share that moves by less, with everything else, has not changed: what is left is rounding


def find_taps(record: LayerRecord, layer: str, pixels: int) -> Finding:
    """Where does spatial attention live? ``pixels``: side of the picture that the network sees."""
    spatial = record.attention.spatial
    if spatial is None:
        return Finding((), (Phrase("layer.spatial_absent"),))
    rows, columns = spatial.shape[1:]
    _, height, width = record.input_shape
    right = ("taps",) if (rows, columns) == record.weight_shape[-2:] else ()
    values = {"layer": layer, "rows": rows, "columns": columns, "height": height, "width": width, "pixels": pixels}
    return Finding(right, (Phrase("finding.taps", values), Phrase("finding.taps_slide")))


def shuffle_input(layer: ODConv2d, x: np.ndarray, seed: int = 0) -> tuple[Heads[float], float]:
    """What changes in ``layer`` when the places of its input ``x`` (1, C_in, H, W) are shuffled, all channels alike.

    Returns:
        The largest change of each head, ``None`` where there is none; and the mean change of the output, relative to its
        mean size.
    """
    places = x.shape[2] * x.shape[3]
    order = torch.randperm(places, generator=torch.Generator().manual_seed(seed))
    parameter = next(layer.parameters())
    before = torch.tensor(x).to(parameter.device, parameter.dtype)
    after = before.flatten(2)[:, :, order.to(parameter.device)].view_as(before)
    attentions, outputs = [], []
    with torch.inference_mode():
        for one in (before, after):
            with probe(layer) as trace:
                outputs.append(layer(one).float())
            attentions.append(next(iter(trace.values())).attention)
    changes = (
        None if old is None or new is None else float((new - old).abs().max())
        for old, new in zip(*attentions, strict=True)
    )
    size = float(outputs[0].abs().mean())
    return Heads(*changes), float((outputs[1] - outputs[0]).abs().mean()) / size if size else 0.0


def find_shuffle(changes: Heads[float], output: float, layer: str) -> Finding:
    """Which attentions change when the pixels of a layer's input are shuffled? See :func:`shuffle_input`."""
    present = {head: change for head, change in zip(HEADS, changes, strict=True) if change is not None}
    moved = [head for head, change in present.items() if change > STILL]
    right = "none" if not moved else "all" if len(moved) == len(present) else moved[0] if len(moved) == 1 else ""
    rows = tuple(Row(Phrase(f"head.{head}"), change, f"{change:.4f}", head, head) for head, change in present.items())
    values = {"layer": layer, "limit": f"{STILL:g}", "most": f"{max(present.values()):.2f}", "output": percent(output)}
    reasons = [Phrase("finding.shuffle" if moved else "finding.shuffle_still", values)]
    if not moved:
        reasons.append(Phrase("finding.shuffle_why"))
    return Finding((right,) if right else (), tuple(reasons), rows, Phrase("finding.shuffle_note"))


def find_alone(
    shares: Mapping[int, float], first: tuple[str, str], measured: tuple[float, float, int] | None
) -> Finding:
    """Only the strongest kernel of each layer stays: what becomes of the prediction?

    Args:
        shares: number of kernels that stay, from K down to 1 -> probability of the first choice as trained.
        first: name of the first choice with all kernels, and with one.
        measured: in how many percent of n validation pictures the network is right with all kernels, with one, and n;
            ``None`` where its card does not say.
    """
    every, one = shares[max(shares)], shares[1]
    before, after = first
    right = "other" if before != after else "same" if one >= every / 2 else "weaker"
    rows = tuple(
        Row(Phrase("finding.alone_row", {"count": count}), share, f"{share:.2f}") for count, share in shares.items()
    )
    values = {"name": before, "every": f"{every:.2f}", "one": f"{one:.2f}", "other": after}
    reasons = [Phrase("finding.alone_other" if before != after else "finding.alone_same", values)]
    if measured is not None:
        whole, single, n = measured
        accuracy = {"every": f"{whole:.1f}", "one": f"{single:.1f}", "n": f"{n:,}"}
        reasons.append(Phrase("finding.alone_measured", accuracy))
    return Finding((right,), tuple(reasons), rows, Phrase("finding.alone_note", values))


def find_go(trained: float, without: Mapping[str, float], name: str) -> Finding:
    """Which head may go? ``without``: head -> probability of the first choice ``name`` with its pattern gone."""
    best = largest(without)
    rows = tuple(Row(Phrase(f"head.{head}"), share, f"{share:.2f}", head, head) for head, share in without.items())
    least, worst = max(without, key=without.__getitem__), min(without, key=without.__getitem__)
    values = {
        "name": name,
        "trained": f"{trained:.2f}",
        "best": Phrase(f"head.{least}"),
        "best_share": f"{without[least]:.2f}",
        "worst": Phrase(f"head.{worst}"),
        "worst_share": f"{without[worst]:.2f}",
    }
    return Finding(
        best, (Phrase("finding.go", values), Phrase("finding.go_only")), rows, Phrase("finding.go_note", values)
    )


def find_suffers(trained: Reading, alone: Mapping[str, Alone], kernels: int, name: str) -> Finding:
    """Which head does a high temperature harm most?

    Args:
        trained: the network as trained.
        alone: head -> with it alone at T = 30, for the heads that the network has.
        kernels: K of the network.
        name: of the first choice.
    """
    best = trained.first_choice
    was, hot = trained.probability(best), {head: one.free.probability(best) for head, one in alone.items()}
    worst = min(hot, key=hot.__getitem__)
    rows = []
    for head, one in alone.items():
        rows.append(Row(Phrase(f"head.{head}"), hot[head], f"{hot[head]:.2f}", head, head))
        if one.kept is not None:
            kept = one.kept.probability(best)
            rows.append(Row(Phrase("finding.suffers_held", {"head": Phrase(f"head.{head}")}), kept, f"{kept:.2f}"))
    values = {"worst": Phrase(f"head.{worst}"), "name": name, "trained": f"{was:.2f}", "hot": f"{hot[worst]:.2f}"}
    note = Phrase("finding.suffers_note", values)
    if hot[worst] >= was:
        return Finding((), (Phrase("finding.suffers_none", values),), tuple(rows), note)
    reasons = [Phrase("finding.suffers", values), *_why_suffers(trained, alone[worst], worst, kernels, name)]
    return Finding(smallest(hot), tuple(reasons), tuple(rows), note)


def _why_suffers(trained: Reading, worst: Alone, head: str, kernels: int, name: str) -> list[Phrase]:
    if worst.kept is None:
        effective = {"effective": f"{trained.mean_effective:.2f}", "hot_effective": f"{worst.free.mean_effective:.2f}"}
        return [Phrase("finding.suffers_kernel", effective | {"total": kernels})]
    was, hot, kept = (one.probability(trained.first_choice) for one in (trained, worst.free, worst.kept))
    values = {
        "mean": f"{trained.mean_gate(head):.2f}",
        "hot_mean": f"{worst.free.mean_gate(head):.2f}",
        "kept": f"{kept:.2f}",
        "name": name,
    }
    half = kept - hot >= (was - hot) / 2
    reasons = [
        Phrase("finding.suffers_gates", values),
        Phrase("finding.suffers_scale" if half else "finding.suffers_pattern"),
    ]
    return [*reasons, Phrase("finding.suffers_safe")] if trained.effective else reasons


def find_likes(
    shares: Mapping[str, float], titles: Mapping[str, str], use: KernelUse | None, names: Sequence[str], layer: str
) -> Finding:
    """What does W3 like?

    Args:
        shares: sample -> share that W3 has for it.
        titles: sample -> its title.
        use: of W3 by the classes of an atlas; ``None`` without one.
        names: of the classes.
    """
    rows = tuple(Row(titles[sample], share, f"{share:.2f}", sample, "kernel") for sample, share in shares.items())
    best = max(shares, key=shares.__getitem__)
    reasons = [Phrase("finding.likes", {"layer": layer, "title": titles[best], "share": f"{shares[best]:.2f}"})]
    if use is not None and use.preferred:
        listed = {
            end: ", ".join(names[label] for label in labels)
            for end, labels in (("most", use.most), ("least", use.least))
        }
        reasons.append(Phrase("finding.likes_classes", listed))
    return Finding(largest(shares), tuple(reasons), rows, Phrase("finding.likes_note", {"layer": layer}))


def class_shares(atlas: Atlas) -> dict[str, float]:
    """Layer -> how much of the variance of its kernel shares over the atlas's pictures lies between the classes, 0 to 1.

    Layers with one kernel are left out. By chance alone it is about the number of classes over the number of pictures.
    """
    weights = atlas.counts / atlas.counts.sum()
    found = {}
    for name, layer in atlas.layers.items():
        if layer.heads.kernel is not None and layer.kernel_by_class is not None:
            found[name] = _between(layer, weights)
    return found


def _between(layer: TypicalLayer, weights: np.ndarray) -> float:
    assert layer.heads.kernel is not None
    assert layer.kernel_by_class is not None
    away = layer.kernel_by_class.astype(np.float64) - layer.heads.kernel.mean
    whole = float((layer.heads.kernel.deviation.astype(np.float64) ** 2).sum())
    return float(weights @ (away**2).sum(axis=1)) / whole if whole else 0.0


def find_class(explained: Mapping[str, float], rank: int, first: str, atlas: Atlas) -> Finding:
    """In which layer do pictures of one class agree most in their kernel shares?

    Args:
        explained: of :func:`class_shares`, of two layers at least.
        rank: place of the mean of the picture's first choice ``first`` among all class means, by how near they are to the
            picture's kernel shares in the layer where classes agree most, see :func:`class_rank`.
    """
    layers = list(explained)
    best = max(layers, key=explained.__getitem__)
    right = "first" if best == layers[0] else "last" if best == layers[-1] else "between"
    listed = dict.fromkeys([layers[0], best, layers[-1]])
    rows = tuple(Row(name, explained[name], f"{percent(explained[name])} %", head="kernel") for name in listed)
    values = {
        "best": best,
        "percent": percent(explained[best]),
        "rest": percent(1 - explained[best]),
        "first": first,
        "rank": rank,
        "classes": atlas.classes,
    }
    note = Phrase("finding.class_note", {"pictures": f"{atlas.pictures:,}"})
    return Finding((right,), (Phrase("finding.class_best", values), Phrase("finding.class_rank", values)), rows, note)


def class_rank(atlas: Atlas, layer: str, shares: np.ndarray, label: int) -> int:
    """Place of a class among all, by the mean absolute distance of its mean from a picture's kernel shares (K,); 1: nearest."""
    means = atlas.layers[layer].kernel_by_class
    assert means is not None
    away = np.abs(means.astype(np.float64) - shares).mean(axis=1)
    return 1 + int((away < away[label]).sum())


def distance_from_typical(record: Explanation, atlas: Atlas) -> float:
    """How far one picture's attention is from the typical: mean over all heads of all layers, in standard deviations."""
    far = [
        distances(values, typical.mean, typical.deviation)[0]
        for name, layer in record.layers.items()
        for values, typical in zip(layer.attention, atlas.layers[name].heads, strict=True)
        if values is not None and typical is not None
    ]
    return float(np.mean(far))


def find_strange(known: Mapping[str, float], strange: Mapping[str, float]) -> Finding:
    """Do pictures of none of the classes get unusual attention? Both: title -> distance from typical."""
    nearest, furthest = min(strange.values()), max(strange.values())
    right = "yes" if nearest > max(known.values()) else "nearer" if furthest < min(known.values()) else "mixed"
    far = {title: (distance, True) for title, distance in strange.items()}
    far |= {title: (distance, False) for title, distance in known.items()}
    longest = max(distance for distance, _ in far.values())
    rows = tuple(
        Row(
            Phrase("finding.strange_row", {"title": title}) if of_none else title, distance / longest, f"{distance:.2f}"
        )
        for title, (distance, of_none) in sorted(far.items(), key=lambda one: -one[1][0])
    )
    values = {
        "strange": len(strange),
        "nearest": f"{nearest:.2f}",
        "furthest": f"{furthest:.2f}",
        "known": len(known),
        "low": f"{min(known.values()):.2f}",
        "high": f"{max(known.values()):.2f}",
    }
    reasons = [Phrase("finding.strange", values)]
    if right == "mixed":
        reasons.append(Phrase("finding.strange_mixed"))
    return Finding((right,), tuple(reasons), rows, Phrase("finding.strange_note"))
