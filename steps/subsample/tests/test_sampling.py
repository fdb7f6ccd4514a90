import numpy as np
import pytest
from step_runner_cut import sampling


def test_ranks_are_splitmix64():
    # Reference values of Vigna's splitmix64.c, seed 1234567.
    assert sampling.ranks(3, 1234567).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_uniform():
    a = sampling.uniform(1000, 100, 0)
    assert len(np.unique(a)) == 100 and (np.diff(a) > 0).all()
    assert a.tolist() == sampling.uniform(1000, 100, 0).tolist() != sampling.uniform(1000, 100, 1).tolist()
    assert sampling.uniform(5, 9, 0).tolist() == [0, 1, 2, 3, 4]


def test_every_cell_is_as_likely():
    hits = np.zeros(50)
    for seed in range(4000):
        hits[sampling.uniform(50, 10, seed)] += 1
    # 800 expected, standard deviation 25.
    assert abs(hits - 800).max() < 130


def test_blocks():
    a = sampling.blocks(10_500, 2_500, 3)
    assert len(a) == 2_500 and (np.diff(a) > 0).all()
    assert (np.diff(a) > 1).sum() <= 3


@pytest.mark.parametrize(
    ("sizes", "count", "want"),
    [([50, 30, 20], 10, [5, 3, 2]), ([98, 1, 1], 10, [8, 1, 1]), ([5, 5], 20, [5, 5]), ([3, 3, 3], 2, [1, 1, 0]), ([1, 0, 9], 5, [1, 0, 4])],
)
def test_quotas(sizes, count, want):
    assert sampling.quotas(np.array(sizes), count).tolist() == want


def test_stratified():
    codes = np.array([0] * 900 + [1] * 99 + [2])
    picked = sampling.stratified(codes, 100, 0)
    assert np.bincount(codes[picked]).tolist() == [89, 10, 1]


def test_genes():
    named = [{"name": "B", "why": "keep-genes"}, {"name": "X", "why": "keep-genes"}, {"name": "Y", "why": "literal"}]
    g = sampling.by_name([["A", "B", "mt-c", "RPL3", "E"], ["a", "b", "B", "d", "e"]], named)
    assert g.forced.tolist() == [1, 2, 3]
    assert [k["why"] for k in g.kept] == ["keep-genes", "keep-genes", "ribosomal"]
    assert g.missing == [named[1]]
    assert sampling.genes(g.forced, np.array([3, 0, 0, 0, 9]), 4).tolist() == [1, 2, 3, 4]
    # The forced ones stay also when they are more.
    assert sampling.genes(g.forced, np.array([3, 0, 0, 0, 9]), 1).tolist() == [1, 2, 3]
