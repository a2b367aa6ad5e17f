# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # GANs, and a `train_step` of your own
#
# Keep the `train_step` that you have written, and pass the recorder to `fit`. It
# records what every optimizer is given in there, as long as the model holds the
# optimizer: as an attribute, or in a list or dict. Paths tell the optimizers' variables
# apart.
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers, ops

import hrcallbacks as hr

# %% [markdown]
# ## A GAN: two optimizers
#
# The generator learns to draw numbers that the critic takes for those of the data. As
# in Keras' own guide, `compile` is given an optimizer for each.


# %%
class GAN(keras.Model):
    """A generator and a critic of single numbers."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((2,)), layers.Dense(8, activation="relu"), layers.Dense(1)],
            name="generator",
        )
        self.critic = keras.Sequential(
            [keras.Input((1,)), layers.Dense(8, activation="relu"), layers.Dense(1)],
            name="critic",
        )
        self.built = True

    def compile(self, g_optimizer, d_optimizer):
        """Takes an optimizer for each network."""
        super().compile()
        self.g_optimizer = g_optimizer
        self.d_optimizer = d_optimizer

    def train_step(self, real):
        """Updates the critic, then the generator."""
        noise = keras.random.normal((ops.shape(real)[0], 2))
        with tf.GradientTape() as tape:
            fake = self.critic(self.generator(noise))
            d_loss = ops.mean(ops.softplus(fake) + ops.softplus(-self.critic(real)))
        variables = self.critic.trainable_variables
        self.d_optimizer.apply(tape.gradient(d_loss, variables), variables)

        with tf.GradientTape() as tape:
            g_loss = ops.mean(ops.softplus(-self.critic(self.generator(noise))))
        variables = self.generator.trainable_variables
        self.g_optimizer.apply(tape.gradient(g_loss, variables), variables)
        return {"d_loss": d_loss, "g_loss": g_loss}


keras.utils.set_random_seed(1)
gan = GAN()
gan.compile(
    g_optimizer=keras.optimizers.Adam(0.002), d_optimizer=keras.optimizers.Adam(0.01)
)

real = np.random.default_rng(0).normal(2, 0.5, size=(640, 1))
recorder = hr.GradientRecorder(record_freq=1)
gan.fit(real, batch_size=64, epochs=5, verbose=0, callbacks=[recorder])

recording = recorder.recording
print(*recording.paths, sep="\n")

# %% [markdown]
# A record holds what both optimizers were given in that step. `index` has both learning
# rates, here the critic's first, since its optimizer is called first. It has the losses
# under the names that `train_step` gives them; `loss` is NaN, since none has that name.

# %%
recording.index.tail(3)

# %% [markdown]
# How large are the gradients of each network? Select by path:

# %%
squares = recording.statistic("gradients", "norm") ** 2
norms = {
    network: np.sqrt(squares.filter(like=f"{network}/").sum(axis=1))
    for network in ("generator", "critic")
}
pd.DataFrame(norms).iloc[9::10]

# %% [markdown]
# ## A variational autoencoder
#
# Its step draws random numbers. If gradients were computed a second time for a log,
# they would come from other draws. The recorder takes those that trained the model.


# %%
class VAE(keras.Model):
    """An autoencoder of four numbers, with a code of two."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential(
            [keras.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(4)],
            name="encoder",
        )
        self.decoder = keras.Sequential(
            [keras.Input((2,)), layers.Dense(8, activation="tanh"), layers.Dense(4)],
            name="decoder",
        )
        self.tracker = keras.metrics.Mean(name="loss")
        self.built = True

    @property
    def metrics(self):
        """What Keras resets at the beginning of an epoch."""
        return [self.tracker]

    def train_step(self, x):
        """One step on the negative evidence lower bound."""
        with tf.GradientTape() as tape:
            mean, log_variance = ops.split(self.encoder(x), 2, axis=-1)
            noise = keras.random.normal(ops.shape(mean))
            code = mean + ops.exp(log_variance / 2) * noise
            error = ops.sum((self.decoder(code) - x) ** 2, axis=-1)
            divergence = ops.sum(
                ops.exp(log_variance) + mean**2 - 1 - log_variance, axis=-1
            )
            loss = ops.mean(error + divergence / 2)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


x = np.random.default_rng(0).normal(size=(320, 2)) @ np.ones((2, 4))
vae = VAE()
vae.compile(keras.optimizers.Adam(0.01))
recorder = hr.GradientRecorder(record_freq=1)
vae.fit(x.astype("float32"), batch_size=64, epochs=4, verbose=0, callbacks=[recorder])
recorder.recording.index.tail(3)

# %% [markdown]
# Although the `train_step` returns a running mean, `loss` is that of each batch alone.
#
# ## The proof
#
# The recorded gradients, given to the same optimizers again, give the recorded weights,
# for the GAN and for the autoencoder:

# %%
print(recording.replay())
print(recorder.recording.replay())

# %% [markdown]
# If an optimizer is out of reach, such as in a global variable, `fit` warns and names
# those that it found. On JAX a `train_step` is a function of the state and calls
# `optimizer.stateless_apply`, which the recorder watches instead.
#
# If you write the whole loop yourself, see [Record outside `fit`](outside_fit.ipynb).
