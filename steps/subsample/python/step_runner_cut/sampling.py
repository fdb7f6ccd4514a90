"""Which cells and genes are kept. Nothing here may depend on a library's random
numbers, which change between versions: cell i has the rank that the (i+1)-th
output of splitmix64, started at the seed, has among those of all cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BLOCK_ROWS = 1000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def ranks(count: int, seed: int) -> NDArray[np.uint64]:
    """The first outputs of splitmix64 started at seed."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed & _MASK) + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _first(candidates: Ints, rank: NDArray[np.uint64], count: int) -> Ints:
    # A stable sort: what has the same rank is taken in the order of the file.
    return candidates[np.argsort(rank[candidates], kind="stable")[:count]]


def uniform(total: int, count: int, seed: int) -> Ints:
    """count of the rows below total, sorted."""
    if count >= total:
        return np.arange(total, dtype=np.int64)
    return np.sort(_first(np.arange(total, dtype=np.int64), ranks(total, seed), count))


def blocks(total: int, count: int, seed: int) -> Ints:
    """Runs of BLOCK_ROWS neighbours; the last one that is drawn may be cut short."""
    if count >= total:
        return np.arange(total, dtype=np.int64)
    starts = np.arange(0, total, BLOCK_ROWS, dtype=np.int64)
    drawn: list[Ints] = []
    for start in _first(starts // BLOCK_ROWS, ranks(len(starts), seed), len(starts)) * BLOCK_ROWS:
        rows = np.arange(start, min(start + BLOCK_ROWS, total), dtype=np.int64)[:count]
        drawn.append(rows)
        count -= len(rows)
        if count == 0:
            break
    return np.sort(np.concatenate(drawn))


def quotas(sizes: Ints, count: int) -> Ints:
    """Shares of count by size, by largest remainder; each stratum gets one as long
    as count suffices, the larger ones first."""
    total = int(sizes.sum())
    if count >= total:
        return sizes.copy()
    # Integers throughout: a rounding must not depend on the machine.
    share = np.array([int(s) * count // total for s in sizes], dtype=np.int64)
    rest = np.array([int(s) * count % total for s in sizes], dtype=np.int64)
    for i in np.argsort(-rest, kind="stable")[: count - int(share.sum())]:
        share[i] += 1
    for i in np.argsort(-sizes, kind="stable"):
        if sizes[i] > 0 and share[i] == 0:
            largest = int(np.argmax(share))
            if share[largest] < 2:
                break
            share[largest] -= 1
            share[i] = 1
    return share


def stratified(codes: Ints, count: int, seed: int) -> Ints:
    """Rows by stratum; codes number the strata from 0."""
    if count >= len(codes):
        return np.arange(len(codes), dtype=np.int64)
    rank = ranks(len(codes), seed)
    share = quotas(np.bincount(codes), count)
    picked = [_first(np.flatnonzero(codes == s), rank, int(n)) for s, n in enumerate(share)]
    return np.sort(np.concatenate(picked))


@dataclass
class Genes:
    """The genes that are kept by name."""

    forced: Ints
    kept: list[dict[str, str]]
    missing: list[dict[str, str]]


_ALWAYS = {"MT-": "mitochondrial", "RPS": "ribosomal", "RPL": "ribosomal"}


def by_name(columns: list[list[str]], named: list[dict[str, str]]) -> Genes:
    """Looks names up in the columns, each of which has a name for every gene."""
    where: dict[str, list[int]] = {}
    for column in columns:
        for i, name in enumerate(column):
            where.setdefault(name, []).append(i)
    why: dict[int, tuple[str, str]] = {}
    missing = []
    for n in named:
        found = where.get(n["name"], [])
        for i in found:
            why.setdefault(i, (n["name"], n["why"]))
        # A literal of a program need not be a gene.
        if not found and n["why"] != "literal" and n not in missing:
            missing.append(n)
    for column in columns:
        for i, name in enumerate(column):
            if reason := _ALWAYS.get(name[:3].upper()):
                why.setdefault(i, (name, reason))
    forced = np.array(sorted(why), dtype=np.int64)
    return Genes(forced, [{"name": why[i][0], "why": why[i][1]} for i in sorted(why)], missing)


def genes(forced: Ints, detected: Ints, count: int) -> Ints:
    """The forced genes, and those that most cells have, up to count; sorted."""
    order = np.argsort(-detected, kind="stable")
    rest = order[~np.isin(order, forced)][: max(0, count - len(forced))]
    return np.sort(np.concatenate([forced, rest])).astype(np.int64)


def shift(before: Ints, after: Ints) -> float:
    """Half the sum of the differences of the shares: 0 when they are the same."""
    if before.sum() == 0 or after.sum() == 0:
        return 0.0
    return round(float(np.abs(before / before.sum() - after / after.sum()).sum() / 2), 6)


def strata(names: list[str], codes: Ints, cells: Ints) -> list[dict[str, Any]]:
    """How many cells each stratum had and has."""
    before = np.bincount(codes, minlength=len(names))
    after = np.bincount(codes[cells], minlength=len(names))
    return [{"value": n, "before": int(b), "after": int(a)} for n, b, a in zip(names, before, after)]
