"""What operators read and write is read right, in two ways that must agree."""

from __future__ import annotations

import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")

import dataclasses

import numpy as np
from devito import (
    Buffer,
    Eq,
    Function,
    Grid,
    Inc,
    Operator,
    SparseTimeFunction,
    SubDimension,
    TimeFunction,
    VectorTimeFunction,
    div,
    grad,
)
from devito_problems import CASES, adjoint_of

from pyrevolve.devito import (
    FieldState,
    UnsupportedOperatorError,
    access,
    read_operator,
    retention,
)
from pyrevolve.devito.retention import field_state

pytestmark = pytest.mark.devito


@pytest.fixture(scope="module")
def grid():
    return Grid(shape=(9, 8))


def offsets(operator, name):
    found = read_operator(operator)
    assert found.doubts == {}
    touched = found[name]
    return sorted(touched.reads), sorted(touched.assigns), sorted(touched.updates)


@pytest.mark.parametrize("save", [None, Buffer(2), Buffer(3), Buffer(7), 30])
@pytest.mark.parametrize("options", [{}, {"opt": ("advanced", {"linearize": True})}, {"opt": "noop"}])
def test_offsets_of_rings_and_of_stored_fields(grid, save, options):
    u = TimeFunction(name="u", grid=grid, time_order=2, space_order=2, save=save)
    w = TimeFunction(name="w", grid=grid, time_order=1)
    f = Function(name="f", grid=grid)
    s = SparseTimeFunction(name="s", grid=grid, npoint=2, nt=30, coordinates=np.ones((2, 2)))
    operator = Operator(
        [
            Eq(u.forward, u.laplace + (0 if save == Buffer(2) else u.backward) + f),
            Eq(w.forward, u.forward - w),
            s.inject(field=u.forward, expr=s),
            Inc(f, w.forward * u),
        ],
        **options,
    )
    back = [0] if save == Buffer(2) else [-1, 0]
    assert offsets(operator, "u") == ([*back, 1], [1], [1])
    assert offsets(operator, "w") == ([0, 1], [1], [])
    assert offsets(operator, "s") == ([0], [], [])
    assert offsets(operator, "f") == ([None], [], [None])
    assert read_operator(operator).forward


def test_offsets_of_a_reverse_operator(grid):
    u = TimeFunction(name="u", grid=grid, time_order=2, save=Buffer(9))
    p = VectorTimeFunction(name="p", grid=grid, time_order=1, save=Buffer(5))
    v = TimeFunction(name="v", grid=grid, time_order=2, space_order=2)
    g = Function(name="g", grid=grid)
    x = SubDimension.middle("xi", parent=grid.dimensions[0], thickness_left=2, thickness_right=2)
    operator = Operator(
        [
            Eq(v.backward, v.laplace).xreplace({grid.dimensions[0]: x}),
            Inc(g, u.dt2 * v + div(p.forward) * v.backward),
        ]
    )
    assert offsets(operator, "u") == ([-1, 0, 1], [], [])
    assert offsets(operator, "p_x") == ([1], [], [])
    assert offsets(operator, "v") == ([-1, 0], [-1], [])
    found = read_operator(operator)
    assert not found.forward
    assert found["nothing"] == access.Access()


def test_blocked_three_dimensional_code_with_temporaries_is_read():
    grid = Grid(shape=(12, 12, 12))
    v = VectorTimeFunction(name="v", grid=grid, time_order=1, space_order=4, save=Buffer(6))
    p = TimeFunction(name="p", grid=grid, time_order=1, space_order=4)
    f = Function(name="f", grid=grid, space_order=4)
    operator = Operator([Eq(v.forward, v - grad(f * p)), Eq(p.forward, p - div(f * v.forward).dx)])
    assert offsets(operator, "v_x") == ([0, 1], [1], [])
    assert offsets(operator, "p") == ([0], [1], [])


@pytest.mark.parametrize("name", CASES)
def test_readings_agree_for_every_problem(name):
    problem = adjoint_of(name).problem
    for operator in (problem.forward, problem.reverse):
        assert read_operator(operator).doubts == {}


def test_disagreement_of_the_readings_is_a_doubt(grid, monkeypatch):
    u = TimeFunction(name="u", grid=grid, time_order=2, save=Buffer(7))
    operator = Operator(Eq(u.forward, u + u.backward))
    code = str(operator.ccode)
    assert "(time + 6)%(7)" in code
    for change, message in (
        (("(time + 6)%(7)", "(time + 5)%(7)"), "expressions and the generated code differ in reads"),
        (("(time + 6)%(7)", "(time + 6)%(8)"), "differ in reads"),
        (("u[t1]", "u[t9]"), "generated code has the access"),
        (("u[t1]", "w[t1]"), "differ in reads"),
        (("] = ", "] += "), "differ in reads"),
    ):
        changed = code.replace(*change)
        assert changed != code
        with monkeypatch.context() as patch:
            patch.setitem(vars(operator), "ccode", changed)
            assert message in read_operator(operator).doubts["u"]
    with monkeypatch.context() as patch:
        patch.setitem(vars(operator), "ccode", code.replace("time += 1", "time -= 1"))
        with pytest.raises(UnsupportedOperatorError, match="does not go the way its symbols say"):
            read_operator(operator)


def test_what_is_no_operator_is_refused():
    with pytest.raises(TypeError, match=r"expected a devito\.Operator, got str"):
        read_operator("operator")


# --- from offsets to window, lookback and lag ---------------------------------------------------------------


@dataclasses.dataclass
class Ring:
    """As much of a TimeFunction as the formula looks at."""

    name: str
    shape_allocated: tuple[int, ...]


def derive(ring, slices, low, high, *, shift=0, head=0, settled=1):
    field = FieldState(Ring("u", (ring, 5)), head=head, settled=settled, slices=slices, reads=(low, high))
    kept = retention([field], shift)
    return kept.window, kept.lookback, kept.lag, kept.fields[0].slices


@pytest.mark.parametrize(
    ("arguments", "options", "result"),
    [
        # By hand, K = W + lo - H.
        ((50, 2, 0, 0), {}, (50, 2, 0, 2)),
        ((50, 2, 0, 1), {}, (49, 1, 1, 2)),
        ((50, 2, -1, 1), {}, (48, 0, 1, 2)),
        ((50, 2, 1, 1), {}, (50, 2, 1, 2)),
        ((50, 1, 0, 0), {"shift": 1}, (50, 1, 1, 1)),
        ((50, 2, -1, -1), {}, (49, 1, 0, 2)),
        # One more slice in the state where the condition reads further back than the forward operator.
        ((50, 1, -1, 1), {}, (48, 0, 1, 2)),
        ((50, 1, -1, 0), {}, (49, 1, 0, 2)),
        ((50, 0, 1, 1), {}, (50, 0, 1, 0)),
        ((50, 0, 0, 0), {}, (50, 1, 0, 1)),
        # A forward operator that writes u[time] or u[time + 2], and one that changes a slice afterwards.
        ((50, 2, 0, 0), {"head": -1}, (50, 2, 1, 2)),
        ((50, 2, 0, 0), {"head": 1}, (49, 1, 0, 2)),
        ((50, 2, 0, 0), {"settled": 0}, (49, 1, 1, 2)),
        ((50, 2, -1, -1), {"settled": 0}, (49, 1, 0, 2)),
    ],
)
def test_formula(arguments, options, result):
    assert derive(*arguments, **options) == result


def test_formula_refuses_what_comes_too_late_or_is_too_short():
    with pytest.raises(UnsupportedOperatorError, match="2 timesteps ahead"):
        derive(50, 2, 0, 2)
    with pytest.raises(UnsupportedOperatorError, match="2 timesteps ahead"):
        derive(50, 2, 0, 1, shift=1)
    with pytest.raises(UnsupportedOperatorError, match=r"ring of 2 slices, .* save=Buffer\(3\)"):
        derive(2, 2, 0, 0)
    with pytest.raises(UnsupportedOperatorError, match="none of the forward operator's fields"):
        retention([FieldState(Ring("u", (5, 5)), slices=2)])


def test_states_of_fields():
    def state(reads, assigns, updates=()):
        touched = access.Access(*map(frozenset, (reads, assigns, updates)))
        found = field_state(Ring("u", (9, 5)), touched, None)
        return found.slices, found.head, found.settled

    assert state([-1, 0], [1]) == (2, 0, 1)
    assert state([0, 1], [1], [1]) == (1, 0, 1)
    assert state([1], [1], [1]) == (0, 0, 1)
    assert state([], [1]) == (0, 0, 1)
    assert state([-1, 0], [0, 1]) == (2, 0, 0)
    assert state([-1], [0]) == (1, -1, 1)
    with pytest.raises(UnsupportedOperatorError, match="without assigning it first"):
        state([0, 1], [], [1])
    with pytest.raises(UnsupportedOperatorError, match="ahead of its loop"):
        state([2], [1])
