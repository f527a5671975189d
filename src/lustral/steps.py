"""One step of a long computation: recomputed on the way back if the oracle asks for it, and open to be watched."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import CellType
from typing import Any

import torch
from torch import Tensor

__all__ = ["Watcher", "checkpointing", "show", "step", "watched", "watching"]

Watcher = Callable[[str, dict[str, Any]], None]
"""Told of what happens: the kind of event and what belongs to it."""


class _Plan:
    """Steps are recomputed, but for the first few."""

    def __init__(self, keep: int) -> None:
        self.keep = keep

    def recompute(self) -> bool:
        """Whether the next step is recomputed."""
        self.keep -= 1
        return self.keep < 0


_plan: ContextVar[_Plan | None] = ContextVar("plan", default=None)
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


class _Recomputed(torch.autograd.Function):
    """Keeps the inputs of a function only, and runs it again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], *inputs: Tensor) -> Any:
        ctx.function = function
        ctx.autocast = _autocast(inputs[0].device.type)
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)  # an output that nobody used must not cost a backward pass
        # In gradient mode although this graph is dropped: some functions choose their arithmetic by the mode,
        # and the values must be those of a plain run to the last bit.
        found = _run(function, _leaves(inputs, ctx.needs_input_grad[1:]))
        outputs = tuple(y.detach() for y in _several(found))
        ctx.mark_non_differentiable(
            *(y for y, graph in zip(outputs, _several(found), strict=True) if not graph.requires_grad)
        )
        return outputs if isinstance(found, tuple) else outputs[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # what follows builds no graph of its own: it would be a wrong zero
            raise RuntimeError(
                "a step within checkpointing() can be differentiated only once; "
                "for second derivatives (create_graph=True) leave out checkpointing()"
            )
        inputs = _leaves(ctx.saved_tensors, ctx.needs_input_grad[1:])
        with ctx.autocast, watching(None):
            outputs = _several(_run(ctx.function, inputs))
        pairs = [(y, g) for y, g in zip(outputs, gradients, strict=True) if g is not None and y.requires_grad]
        wanted = [x for x in inputs if x.requires_grad]
        if not pairs:
            return (None, *(None for _ in inputs))
        found = iter(torch.autograd.grad([y for y, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True))
        return (None, *(next(found) if x.requires_grad else None for x in inputs))


def _leaves(inputs: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    return [x.detach().requires_grad_(need) for x, need in zip(inputs, needed, strict=True)]


def _run(function: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
    with torch.enable_grad(), checkpointing(False):  # steps within a step are part of it
        return function(*inputs)


def _several(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _autocast(device: str) -> torch.autocast:
    """The autocast mode of this moment; the backward pass may run outside of it."""
    return torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))


def _check_closure(function: Callable[..., Any]) -> None:
    names: Sequence[str] = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells: Sequence[CellType] = getattr(function, "__closure__", None) or ()
    for name, cell in zip(names, cells, strict=True):
        value: object = cell.cell_contents
        if isinstance(value, Tensor) and value.requires_grad:
            raise ValueError(
                f"the function of a step closes over {name!r}, which needs a gradient and would get none; "
                f"pass it as an input of the step, or detach it before"
            )


def step(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """``function(*inputs)``; within ``checkpointing()`` its graph is dropped and built again in the backward pass.

    Whatever the result depends on differentiably must be among ``inputs``: a tensor that ``function`` only
    closes over gets no gradient under checkpointing. Random numbers must be drawn before and passed in, or be drawn
    from ``Noise.replay`` so that both runs get the same. A step within a step is part of the outer one.

    Args:
        function: tensors -> one tensor or a tuple of tensors; it must not change its inputs.
        inputs: at least one tensor.

    Cost: under checkpointing one more forward pass of ``function``, and the memory of one step instead of all.

    Raises:
        ValueError: under checkpointing, ``function`` closes over a tensor that needs a gradient.
        RuntimeError: in the backward pass, if second derivatives are asked for under checkpointing.
    """
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in inputs)):
        return function(*inputs)
    plan = _plan.get()
    if plan is None:
        return _kept(function, inputs)
    _check_closure(function)
    if plan.recompute():
        return _Recomputed.apply(function, *inputs)
    with checkpointing(False):  # steps within a step are part of it
        return _kept(function, inputs)


def _kept(function: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
    # Views, so that what flows back through one input is first added up within the step, as in a recomputed step:
    # floating point sums depend on the order, and both ways must agree to the last bit.
    return function(*(x[...] for x in inputs))  # not view_as, which changes the strides of single channels-last images


@contextmanager
def checkpointing(active: bool = True, keep: int = 0) -> Generator[None]:
    """Within this block steps keep their inputs only; gradients stay the same to the last bit.

    Args:
        active: False ends an outer block's checkpointing.
        keep: the first so many steps keep their graph, which costs memory and spares their second forward pass.
    """
    token = _plan.set(_Plan(keep) if active else None)
    try:
        yield
    finally:
        _plan.reset(token)


def show(event: str, **facts: Any) -> None:
    """Tell the watcher, if there is one, what just happened; a sampler shows its states this way.

    Any purifier may show what it does inside as ``show("picture", name="mask", x=images)``, images (n, 3, h, w) in
    [0, 1], one per image that it purifies: the benchmark keeps them for the report.
    """
    watcher = _watcher.get()
    if watcher is not None:
        watcher(event, facts)


def watched() -> bool:
    """Whether anybody watches; what is only made to be shown should not be made otherwise."""
    return _watcher.get() is not None


@contextmanager
def watching(watcher: Watcher | None) -> Generator[None]:
    """Within this block ``watcher`` is told of every event; tensors it is given are part of the graph.

    What is shown inside a ``step`` is told once: not again when the step is recomputed.
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
