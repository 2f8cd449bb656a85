"""How often ranks wait for each other in one step."""

import mlo
from tests.parallel.counted import shares_of_batches, shares_of_stages
from tests.parallel.ranks import launch

RULES = {
    "first order": mlo.FirstOrder(),
    "differences": mlo.Unroll(product=mlo.FiniteDifference()),
    "exact": mlo.Unroll(),
    "cg": mlo.Implicit(mlo.CG()),
}


def test_one_sum_for_each_gradient_and_product():
    # Three steps below, one gradient on top. Once a step ranks compare what they do, and once how many examples they
    # have.
    for found in launch(shares_of_batches, 2, RULES):
        for name, (counts, gradients, products, solves) in found.items():
            assert counts["all_gather"] == 2
            assert "broadcast" not in counts
            if name == "exact":
                # Of three products two are wanted for two problems, and the first step's for the upper one alone.
                assert (gradients, products) == (4, 3)
                assert counts["all_reduce"] == gradients + products + 2
            else:
                assert counts["all_reduce"] == gradients + products
            if name == "cg":
                assert products == solves + 1
            if name == "differences":
                assert (gradients, products) == (4 + 2 * 3, 0)


def test_stages_are_told_once_and_their_products_are_summed_once_at_the_end():
    # Four stages of one loss and one buffer each: two numbers to tell. Only the architecture is read by their losses,
    # so that products wait for nobody until the one sum at the end; a sum of losses on top takes one more.
    for whole, in_terms in launch(shares_of_stages, 2):
        for counts, gradients, products, _ in (whole, in_terms):
            assert (gradients, products) == (3, 2)
            assert counts["broadcast"] == 4 * 2
            assert counts["all_gather"] == 1
        assert (whole[0]["all_reduce"], in_terms[0]["all_reduce"]) == (1, 2)
