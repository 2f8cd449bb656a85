"""What used to give a wrong number without a word: each is now right, refused, or said aloud."""

import pytest
import torch
import torchopt
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

import mlo

F64 = torch.float64


def bilevel(lower, upper, response, *, start=0.0, update=None, steps=300):
    zero = torch.as_tensor(start, dtype=F64)
    update = torchopt.sgd(0.02) if update is None else update
    low = mlo.Problem("w", lower, zero, reads=["a"], update=update, steps=steps, response=response)
    return mlo.ProblemGraph([mlo.Problem("a", upper, torch.tensor(1.0, dtype=F64), reads=["w"]), low])


def steep(v, batch):
    return 15 * (v.w - v.a) ** 2


def test_a_neumann_series_that_diverges_slowly_is_said_aloud():
    # |1 - 0.1 * 30| = 2: twenty terms grow to 2^20.
    graph = bilevel(steep, lambda v, b: (v.w - 3) ** 2, mlo.Implicit(mlo.Neumann(max_steps=20, step_size=0.1)))
    with pytest.warns(mlo.UnconvergedWarning, match=r"'w': the adjoint solve of its response has not"):
        mlo.hypergradient(graph, of="a")


def test_a_direction_without_curvature_fails_under_cg_and_not_under_dense():
    # The Hessian is diag(2, 0), and the cotangent has a part in its kernel. Truth: 2 (1 - 3) = -4.
    def lower(v, batch):
        return (v.w[0] - v.a) ** 2 + 0 * v.w[1]

    def upper(v, batch):
        return ((v.w - 3) ** 2).sum()

    def found(solver):
        graph = bilevel(lower, upper, mlo.Implicit(solver), start=[0.0, 0.0], steps=2000)
        return mlo.hypergradient(graph, of="a")

    with pytest.warns(mlo.UnconvergedWarning, match="relative residual 8"):  # of what lies in the kernel
        assert abs(found(mlo.Dense()) + 4) < 1e-9
    with pytest.raises(mlo.DivergenceError, match=r"problem 'w': the adjoint solve .* failed"):
        found(mlo.CG())


def test_a_solve_that_diverged_is_blamed_before_its_adjoint():
    # 300 times further at each step: the adjoint of what is not finite fails too, and says less.
    graph = bilevel(steep, lambda v, b: (v.w - 3) ** 2, mlo.Implicit(), update=torchopt.sgd(10.0))
    with pytest.raises(mlo.DivergenceError, match=r"the loss of problem 'w' is (inf|nan) at step \d+ of its solve"):
        mlo.hypergradient(graph, of="a")


@pytest.mark.parametrize("epsilon", [1e-20, 1e-16])
def test_a_difference_below_rounding_is_refused(epsilon):
    rule = mlo.Unroll(product=mlo.FiniteDifference(epsilon))
    graph = bilevel(steep, lambda v, b: v.w**2, rule, start=1.0, steps=1)
    with pytest.raises(mlo.ConfigError, match=r"problem 'w': FiniteDifference.* lost in rounding.* take at least"):
        mlo.hypergradient(graph, of="a")


def test_a_value_that_is_taken_as_it_stands_may_have_an_update_that_would_rest_elsewhere():
    # w is where its loss vanishes, and no decay moves it from there: 2 (w - 3) = -4.
    decayed = torchopt.sgd(0.1, weight_decay=0.1)
    graph = bilevel(steep, lambda v, b: (v.w - 3) ** 2, mlo.Implicit(), start=1.0, update=decayed, steps=0)
    assert float(mlo.hypergradient(graph, of="a")) == pytest.approx(-4, rel=1e-12)


def test_an_infinite_difference_is_refused():
    with pytest.raises(mlo.ConfigError, match="positive and finite"):
        mlo.FiniteDifference(float("inf"))


@pytest.mark.parametrize(
    "update", [torchopt.sgd(0.02, weight_decay=1.0), torchopt.adamw(0.02), torchopt.adam(0.02, weight_decay=0.1)]
)
def test_decay_in_the_update_is_refused_where_the_loss_is_taken_as_stationary(update):
    with pytest.raises(mlo.GraphError, match=r"'w' cannot respond by Implicit: .* put the decay into the loss"):
        bilevel(steep, lambda v, b: v.w, mlo.Implicit(), update=update)
    bilevel(steep, lambda v, b: v.w, mlo.Unroll(), update=update)


AT_REST = [torchopt.sgd(0.02), torchopt.sgd(0.02, momentum=0.9), torchopt.sgd(1.0, maximize=True)]


@pytest.mark.parametrize("update", AT_REST)
def test_updates_that_rest_where_the_loss_is_stationary_are_not(update):
    bilevel(steep, lambda v, b: v.w, mlo.Implicit(), update=update)


def test_a_proximal_step_after_adam_is_refused_where_it_balances_nothing():
    def learner(name):
        return mlo.Problem(
            name,
            lambda v, b: (v[name] - v.a) ** 2,
            torch.tensor(0.0, dtype=F64),
            reads=["a"],
            update=torchopt.adam(0.1),
            response=mlo.Implicit(),
        )

    proximal = mlo.Proximal(1.0, step_size=0.1)
    stages = mlo.interleave([learner("l"), learner("r")], rounds=1, proximal=proximal, shared="")
    top = mlo.Problem("a", lambda v, b: v["r@1"], torch.tensor(0.0, dtype=F64), reads=["r@1"])
    with pytest.raises(mlo.GraphError, match=r"'r@1' cannot respond by Implicit: a proximal step after adam"):
        mlo.ProblemGraph([top, *stages])


def test_a_batch_sampler_keeps_its_place():
    generator = torch.Generator().manual_seed(0)
    data = torch.arange(8, dtype=F64)
    loader = DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data, generator=generator), 4, False))
    low = mlo.Problem(
        "w",
        lambda v, b: ((v.w - v.a * b) ** 2).mean(),
        torch.tensor(0.0, dtype=F64),
        reads=["a"],
        update=torchopt.sgd(0.01),
        batches=loader,
    )
    graph = mlo.ProblemGraph([mlo.Problem("a", lambda v, b: v.w**2, torch.tensor(1.0, dtype=F64), reads=["w"]), low])
    before = generator.get_state()
    mlo.hypergradient(graph, of="a")
    assert torch.equal(before, generator.get_state())


@pytest.mark.parametrize("kind", ["tensor", "dict", "module"])
def test_what_is_declared_is_copied_at_once(kind):
    net = torch.nn.Linear(1, 1, bias=False).double()
    content = {"tensor": torch.ones(1, dtype=F64), "dict": {"w": torch.ones(1, dtype=F64)}, "module": net}[kind]
    tensor = {"tensor": lambda: content, "dict": lambda: content["w"], "module": lambda: net.weight}[kind]()

    def loss(v, batch):
        seen = v.x if kind == "tensor" else v.x["w"] if kind == "dict" else v.x.params["weight"]
        return (seen**2).sum()

    graph = mlo.ProblemGraph([mlo.Problem("x", loss, content)])
    before = mlo.hypergradient(graph, of="x")
    with torch.no_grad():
        tensor.add_(1.0)
    after = mlo.hypergradient(graph, of="x")
    assert str(before) == str(after)


def test_an_engine_refuses_what_it_would_never_train():
    low = mlo.Problem("w", steep, torch.tensor(0.0), reads=["a"], update=torchopt.sgd(0.1), steps=0)
    top = mlo.Problem("a", lambda v, b: v.w, torch.tensor(1.0), reads=["w"], update=torchopt.sgd(0.1))
    with pytest.raises(mlo.GraphError, match=r"'w' has an update but steps=0 and would never be trained"):
        mlo.Engine(mlo.ProblemGraph([top, low]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: mlo.Implicit(mlo.CG), "solver must be an instance such as mlo.CG"),
        (lambda: mlo.Implicit(mlo.Exact()), "solver must be an instance"),
        (lambda: mlo.Unroll(product=mlo.Exact), "product must be mlo.Exact"),
        (lambda: mlo.Unroll(product=mlo.CG()), "product must be"),
        (lambda: mlo.CG(max_steps=2.5), "max_steps must be a whole number"),
        (lambda: mlo.CG("a"), "max_steps must be a whole number"),
        (lambda: mlo.Penalty("a"), "weight must be positive"),
        (lambda: mlo.Penalty(1.0, tol=None), "tol must be a number"),
        (lambda: mlo.SingleLoop("a"), "step_size must be positive"),
        (lambda: mlo.FiniteDifference("a"), "epsilon must be positive"),
        (lambda: mlo.Unroll(memory=mlo.Recompute("a")), "every must be a whole number"),
        (lambda: mlo.Neumann(step_size=float("nan")), "step_size must be positive"),
        (lambda: mlo.Proximal(1.0, step_size="a"), "step_size must be a number or a schedule"),
        (lambda: mlo.interleave([1], rounds=1, proximal=None, shared=""), "learners must be"),
        (lambda: mlo.interleave([], rounds=1, proximal=100.0, shared=""), "proximal must be an mlo.Proximal"),
    ],
)
def test_a_wrong_kind_of_setting_is_named(wrong, message):
    with pytest.raises((mlo.ConfigError, mlo.GraphError), match=message):
        wrong()


def test_a_schedule_may_end_at_zero():
    proximal = mlo.Proximal(10.0, step_size=lambda count: max(0.0, 0.1 - 0.05 * count))
    assert [proximal.strength(count) for count in range(4)] == [2.0, 1.0, 0.0, 0.0]


def test_a_diverging_constant_is_blamed_itself():
    low = mlo.Problem("w", lambda v, b: v.w**4, torch.tensor(2.0, dtype=F64), update=torchopt.sgd(1e3), steps=60)
    top = mlo.Problem("a", lambda v, b: v.w * v.a, torch.tensor(1.0, dtype=F64), reads=["w"])
    with pytest.raises(mlo.DivergenceError, match="loss of problem 'w' is inf"):
        mlo.hypergradient(mlo.ProblemGraph([top, low]), of="a")


def test_a_module_with_bound_weights_says_how_to_get_at_them():
    low = mlo.Problem("w", lambda v, b: v.w.weight.sum(), torch.nn.Linear(1, 1))
    with pytest.raises(AttributeError, match=r"a Linear with bound weights has no 'weight': .*\.params"):
        mlo.hypergradient(mlo.ProblemGraph([low]), of="w")


def test_batches_that_save_their_place_keep_it():
    class Counted:
        """Batches whose place moves when they are read."""

        def __init__(self):
            self.place = 0

        def __iter__(self):
            self.place += 1
            yield torch.tensor(float(self.place), dtype=F64)

        def state_dict(self):
            return {"place": self.place}

        def load_state_dict(self, state):
            self.place = state["place"]

    batches = Counted()
    top = mlo.Problem("a", lambda v, b: (v.a - 3 * b) ** 2, torch.tensor(1.0, dtype=F64), batches=batches)
    first, second = (float(mlo.hypergradient(mlo.ProblemGraph([top]), of="a")) for _ in range(2))
    assert (first, second, batches.place) == (-4.0, -4.0, 0)
