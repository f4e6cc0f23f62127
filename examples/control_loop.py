"""A robot's control loop: DreamZero's pipeline at the bundled tabletop."""

# In a checkout pyright does not find jax_stepcache.models, which is the folder models/.
# pyright: reportMissingImports=false

import jax
import jax.numpy as jnp

import jax_stepcache
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.tabletop import latent
from jax_stepcache.models.tabletop.model import instruction_embedding, normalised_state
from jax_stepcache.models.tabletop.render import render
from jax_stepcache.models.tabletop.world import reached, reset, step


def move(world, action):
    """The world after an action, and whether the named block is within reach."""
    world = step(world, action)
    return world, reached(world)


act = jax.jit(lambda world, actions: jax.lax.scan(move, world, actions))
camera = jax.jit(lambda w, key: render(w.gripper, w.blocks, w.colours, key))

pipeline = DreamZeroPipeline(jax_stepcache.load_params(), cache_backend="step_cache")
world = reset(jax.random.key(0))
prompt = instruction_embedding(world.instruction[None])
session = pipeline.start(prompt, jnp.zeros_like(prompt))
frames = [camera(world, jax.random.key(0))]
there = False
for tick in range(8):
    observation = {"state": normalised_state(world.gripper[None])[:, None]}
    if pipeline.begins(session).any():
        observation["first"] = latent.encode(frames[-1][None, None])
    if tick > 0:  # what the camera saw since the last step
        observation["latents"] = latent.encode(jnp.stack(frames[-2:])[None])
    taken = pipeline(session, observation, key=jax.random.key(tick))
    session = taken.session
    shown = pipeline.model.decode({"video": taken.video, "action": taken.action})
    for half in jnp.split(shown["action"][0], 2):  # a picture after each
        world, near = act(world, half)
        frames.append(camera(world, jax.random.key(len(frames))))
        there = there or bool(near.any())
    where = ", ".join(f"{x:.2f}" for x in world.gripper)
    print(f"step {tick}: gripper at {where}; {taken.stats}")
    if there:
        print("the block is within reach")
        break
