"""The comparison with one process finds every wrong way to share a step that is put in the place of the right one."""

import numpy as np
import pytest

import mlo
from tests.parallel import mutants
from tests.parallel.graphs import Share, bilevel, network, scaled
from tests.parallel.ranks import launch
from tests.parallel.trained import apart, flat, trained

TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def gaps():
    """For each mutant, the largest distance from one process in any case and rank."""
    truths = [trained(one, Share(), mlo.Alone())[0] for one in mutants.DATA + mutants.STAGES]
    found = launch(mutants.survivors, 2)
    return {
        name: max(
            apart(values, truth) for of_rank in found for values, truth in zip(of_rank[name], truths, strict=True)
        )
        for name in found[0]
    }


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_mutant_is_found(gaps, name):
    assert gaps["none"] <= TOLERANCE
    assert not gaps[name] <= 1000 * TOLERANCE


def test_averages_at_the_end_are_wrong():
    truth = flat(mlo.hypergradient(bilevel(mlo.Unroll(), Share(), 7, loss=scaled, model=network), of="a")).numpy()
    for gradient in launch(mutants.average_at_the_end, 2):
        assert np.linalg.norm(gradient - truth) > 0.01 * np.linalg.norm(truth)
