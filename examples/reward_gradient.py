"""A reward pulls digits towards a class, by its gradient through a cached sampler."""

import jax
import jax.numpy as jnp

import jax_stepcache

TARGET = 3  # what eights are pulled towards
EACH = 16  # samples of each class that its mean is made of

params = jax_stepcache.load_params("dit")
labels = jnp.repeat(jnp.arange(10), EACH)
drawn = jax_stepcache.sample(params, observation={"label": labels})
means = drawn.sample.reshape(10, EACH, -1).mean(axis=1)

observation = {"label": jnp.full(4, 8)}
struct = params.model.noise_struct(4)
noise = jax.random.normal(jax.random.key(1), struct.shape)


def loss(noise):
    """Less the reward, how likely samples are of the class; and what they are near."""
    result = jax_stepcache.sample(
        params,
        observation=observation,
        noise=noise,
        cache="tuned",
        budget=4,
        differentiable=True,
    )
    flat = result.sample.reshape(len(noise), 1, -1)
    distances = jnp.square(flat - means).mean(axis=-1)
    reward = jax.nn.log_softmax(-10 * distances)[:, TARGET]
    return -reward.mean(), distances.argmin(axis=1)


def sizes(x):
    """The root mean square of each sample's numbers."""
    return jnp.sqrt(jnp.square(x).mean(axis=(1, 2, 3), keepdims=True))


look = jax.jit(jax.value_and_grad(loss, has_aux=True))
for step in range(16):
    (lost, nearest), slope = look(noise)
    if step % 5 == 0:
        print(f"step {step:2d}: reward {-lost:6.2f}, nearest to {nearest.tolist()}")
    noise = noise - 0.2 * slope / sizes(slope)
    # Noise stays as far from nought as noise is.
    noise = noise / sizes(noise)
