"""GPUs that are not there, and programs compiled for them.

JAX compiles ahead of time for a topology that is described to it; nothing runs and
nothing is allocated. What a GPU would be asked for is told here instead: kernels are
not tuned, and JAX's cuDNN attention takes a Hopper GPU with cuDNN 9.10 for granted.
Whether cuDNN finds a plan for a shape shows only on a GPU.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

PLUGIN = "jax_plugins.xla_cuda12"
# A GPU's tuner takes the faster of cuBLAS's products and Triton's, whose tiles are
# arbitrary here: so cuBLAS's, unless asked for otherwise.
_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"


def has_plugin() -> bool:
    """Whether JAX's CUDA 12 plugin is installed."""
    try:
        return importlib.util.find_spec(PLUGIN) is not None
    except ModuleNotFoundError:
        return False


def prepare() -> None:
    """Sets what must be set before JAX is first used: this process has no GPU."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"{_FLAGS} {os.environ.get('XLA_FLAGS', '')}"
    from jax._src.cudnn import fused_attention_stablehlo as fused

    told: Any = fused
    told.check_cudnn_version = lambda: 91000
    told.check_compute_capability = lambda least: float(least) <= 9.0
    told.is_cuda_compute_capability_equal = lambda version: version == "9.0"


def mesh_of(gpu: str, shape: tuple[int, ...], names: tuple[str, ...]) -> Any:
    """A mesh of GPUs that are not there, in one host.

    Args:
        gpu: ``"h100"`` or ``"h200"``.
        shape: GPUs along each axis.
        names: of the axes.

    Returns:
        A `jax.sharding.Mesh`, with axes that are left to the compiler.
    """
    from jax.experimental import topologies
    from jax.sharding import AxisType, Mesh

    importlib.import_module(PLUGIN)
    described = topologies.get_topology_desc(
        "",
        platform="cuda",
        target_config=(Path(__file__).parent / f"{gpu}.txtpb").read_text(),
        topology=f"1x1x{math.prod(shape)}",
    )
    mesh = topologies.make_mesh(described, shape, names)
    return Mesh(mesh.devices, names, axis_types=(AxisType.Auto,) * len(names))


class Compiled(NamedTuple):
    """A program.

    Attributes:
        text: its optimised HLO.
        memory: bytes: ``arguments``, ``outputs``, ``aliased``, ``temporary``, ``peak``.
        seconds: to trace and to compile it.
    """

    text: str
    memory: dict[str, int]
    seconds: tuple[float, float]


def compiled(jitted: Any, *arguments: Any) -> Compiled:
    """Compiles a function for the devices that its arguments' structs are placed on."""
    start = time.perf_counter()
    lowered = jitted.lower(*arguments)
    traced = time.perf_counter()
    program = lowered.compile()
    done = time.perf_counter()
    found = program.memory_analysis()
    memory = {
        "arguments": found.argument_size_in_bytes,
        "outputs": found.output_size_in_bytes,
        "aliased": found.alias_size_in_bytes,
        "temporary": found.temp_size_in_bytes,
        "peak": found.peak_memory_in_bytes,
    }
    return Compiled(program.as_text(), memory, (traced - start, done - traced))


def placed(mesh: Any, tree: Any) -> Any:
    """Structs of arrays, of numbers or of structs, whole on each device of a mesh.

    Args:
        mesh: the devices.
        tree: pytree of them.

    Returns:
        Structs with shardings.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    whole = NamedSharding(mesh, PartitionSpec())

    def place(x: Any) -> Any:
        x = jnp.asarray(x) if isinstance(x, bool | int | float) else x
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole)

    return jax.tree.map(place, tree)


def placed_as(tree: Any, shardings: Any) -> Any:
    """Structs where shardings of the same structure have them."""
    import jax

    return jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
        tree,
        shardings,
    )


def whole(mesh: Any, tree: Any) -> Any:
    """What has no place yet is whole on every device, as a user's arrays are."""
    import jax

    def place(x: Any) -> Any:
        is_placed = isinstance(x, jax.ShapeDtypeStruct) and x.sharding is not None
        return x if is_placed else placed(mesh, x)

    return jax.tree.map(place, tree)


def on_a_device(x: Any) -> tuple[int, ...]:
    """The shape that a placed struct has on each of its devices."""
    return x.sharding.shard_shape(x.shape)
