"""A robot at the bundled tabletop, driven through the socket of a policy server."""

# In a checkout pyright does not find jax_stepcache.models, which is the folder models/.
# pyright: reportMissingImports=false

import urllib.request

import jax
import numpy as np
from websockets.sync.client import connect

import jax_stepcache
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.tabletop.render import COLOUR_NAMES, render
from jax_stepcache.models.tabletop.world import reached, reset, step
from jax_stepcache.serving.robots.wire import pack, unpack


def move(world, action):
    """The world after an action, and whether the named block is within reach."""
    world = step(world, action)
    return world, reached(world)


act = jax.jit(lambda world, actions: jax.lax.scan(move, world, actions))
camera = jax.jit(lambda w, key: render(w.gripper, w.blocks, w.colours, key))


def drive(socket):
    """Looks, asks for a chunk of actions, acts it out, and looks again."""
    world = reset(jax.random.key(0))
    frames = [camera(world, jax.random.key(0))]
    for tick in range(8):
        seen = np.round(255 * np.stack(frames[-2:])).astype(np.uint8)
        message = {
            "observation/image": seen,  # two pictures a chunk, one at first
            "observation/state": np.asarray(world.gripper),
            "prompt": f"reach the {COLOUR_NAMES[int(world.instruction)]} block",
            "session_id": "table 0",
            "options": {"stats": True},
        }
        socket.send(pack(message))
        reply = unpack(socket.recv(decode=False))
        there = False
        for half in np.split(reply["actions"], 2):
            world, near = act(world, half)
            frames.append(camera(world, jax.random.key(len(frames))))
            there = there or bool(near.any())
        stats, where = reply["stats"], ", ".join(f"{x:.2f}" for x in world.gripper)
        ran = f"{stats['model_calls']} of {stats['steps']} steps ran the model"
        print(f"step {tick}: gripper at {where}; {ran}")
        if there:
            print("the block is within reach")
            break


pipeline = DreamZeroPipeline(jax_stepcache.load_params(), cache_backend="step_cache")
server = jax_stepcache.policy_server(pipeline, slots=1)
# Elsewhere: jax-stepcache serve --params tabletop
with server.background() as url:
    server.wait_until_ready()
    with connect(url) as socket:
        print(unpack(socket.recv(decode=False)))
        drive(socket)
    metrics = urllib.request.urlopen(f"http{url[2:]}/metrics").read().decode()
    print(*[line for line in metrics.splitlines() if line.startswith("robots_network")])
