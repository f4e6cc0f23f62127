"""A gate around all attentions of a network, of which the rest runs at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.loop.branches import Branches
from jax_stepcache.loop.forward import like_sample
from jax_stepcache.loop.placeholders import unchecked
from jax_stepcache.meshes.varying import cond
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.view import Inside, View


@dataclass(frozen=True)
class WithinAttentions:
    """What is reused, or forecast, is what each attention says.

    Attributes:
        embed: ``(sample, step) -> (hidden, context)``, with the rows of all branches.
        attended: ``(hidden, context, given) -> (hidden, said)``; attentions are
            computed where nothing is given.
        head: ``(hidden, context, step) -> velocity``, guidance included.
        branches: guidance branches, 1 or 2.
        sigma: picks, of the sigmas of all outputs, that which forecasts go by.
    """

    embed: Callable[[Any, jax.Array], tuple[Any, Any]]
    attended: Callable[[Any, Any, Any], tuple[Any, Any]]
    head: Callable[[Any, Any, jax.Array], Any]
    branches: int
    sigma: Callable[[Any], jax.Array]

    @property
    def noted(self) -> tuple[int, ...]:
        """See `Within.noted`."""
        return () if self.branches == 1 else (self.branches,)

    def init(self, policy: Policy, view: View, num_steps: int) -> Any:
        """See `Forward.init`; the blocks are traced for shapes."""
        hidden, context = jax.eval_shape(lambda: self.embed(view.sample, view.step))
        view = self._seen(view, hidden, context)
        return Branches(policy, self.branches).init(view, num_steps)

    def __call__(self, policy: Policy, state: Any, view: View) -> tuple[Any, Decision]:
        """See `Forward.__call__`."""
        hidden, context = self.embed(view.sample, view.step)
        seen = self._seen(view, hidden, context)
        branches = Branches(policy, self.branches)
        with unchecked():
            decision = branches.decide(state, seen)

        def compute(state: Any) -> tuple[Any, Any]:
            after, said = self.attended(hidden, context, None)
            return after, branches.record(state, seen, said)

        def reuse(state: Any) -> tuple[Any, Any]:
            said = branches.predict(state, seen)
            return self.attended(hidden, context, said)[0], state

        hidden, state = cond(decision.run, compute, reuse, decision.state)
        said = self.head(hidden, context, view.step)
        return like_sample(view.sample, said), decision._replace(state=state)

    def _seen(self, view: View, hidden: Any, context: Any) -> View:
        """Nothing enters an attention's answer, so what it adds is all of it."""
        _, said = jax.eval_shape(
            lambda h, c: self.attended(h, c, None), hidden, context
        )
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), said)
        return view._replace(
            inside=Inside(
                hidden=nothing,
                first=nothing,
                modulated=None,
                sigma=self.sigma(view.sigma),
                branches=jnp.asarray(self.branches, jnp.int32),
            )
        )
