"""Real models, tiny and with random weights, and data to train each on.

Nothing is drawn while they train (no dropout), so that a gradient can be computed a
second time from the weights and the batch alone.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

BACKEND = keras.config.backend()
SAMPLES, SEQUENCE, VOCABULARY, CLASSES = 10, 6, 30, 3


def mean_loss(model: keras.Model, x: Any, y: Any, sample_weight: Any) -> Any:
    """The loss that Keras' own train step minimizes."""
    y_pred = model(x, training=True)
    return model.compute_loss(x, y, y_pred, sample_weight, training=True)


@dataclass(frozen=True)
class Zoo:
    """One model of the zoo.

    Attributes:
        name: What it is called in the table.
        library: Where it comes from; the tests skip it where that is not installed.
        build: Makes the model and compiles it.
        data: Inputs and targets, maybe sample weights, of `SAMPLES` samples.
        loss: What a training step minimizes, of `(model, x, y, sample_weight)`.
        fit_input: Name of the argument of the model's `fit` that takes the inputs.
        epochs: How many it is trained for.
        refused: Feeds that the library's own `fit` does not take, each with the reason.
        kerass_fit: Whether `keras.Model.fit` takes those instead.
    """

    name: str
    library: str
    build: Callable[[], keras.Model]
    data: Callable[[], tuple]
    loss: Callable = mean_loss
    fit_input: str = "x"
    epochs: int = 2
    refused: dict[str, str] = field(default_factory=dict)
    kerass_fit: bool = False


def compiled(model: keras.Model, loss: Any, **options: Any) -> keras.Model:
    """The model, compiled as a user would, without XLA on TensorFlow."""
    jit = {"jit_compile": False} if BACKEND == "tensorflow" else {}
    model.compile(loss=loss, **jit, **options)
    return model


def exact(adaptive: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """An optimizer for a model with embeddings whose replay is exact.

    On TensorFlow the gradient of an embedding comes sparse. It is recorded as the sum
    over repeated rows, which adaptive optimizers square one by one.
    """
    if BACKEND == "tensorflow":
        return keras.optimizers.SGD(0.05, momentum=0.9)
    return adaptive


def cross_entropy() -> keras.losses.Loss:
    """Of classes given as integers, and of logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def tokens(*shape: int) -> np.ndarray:
    """Random tokens, some of them twice in a batch."""
    return np.random.default_rng(0).integers(1, VOCABULARY, shape).astype("int32")


def padding_mask() -> np.ndarray:
    """Sequences of different lengths."""
    lengths = 3 + np.arange(SAMPLES) % (SEQUENCE - 2)
    return (np.arange(SEQUENCE) < lengths[:, np.newaxis]).astype("int32")


def text() -> tuple:
    """Sequences of tokens, and the class of each."""
    x = {
        "token_ids": tokens(SAMPLES, SEQUENCE),
        "segment_ids": np.tile(np.arange(SEQUENCE) > 2, (SAMPLES, 1)).astype("int32"),
        "padding_mask": padding_mask(),
    }
    return x, x["token_ids"][:, 0] % CLASSES


def next_tokens() -> tuple:
    """Sequences of tokens, the token after each, and what is padding."""
    ids = tokens(SAMPLES, SEQUENCE + 1)
    mask = padding_mask()
    x = {"token_ids": ids[:, :-1], "padding_mask": mask}
    return x, ids[:, 1:], mask.astype("float32")


def images(size: int) -> Callable[[], tuple]:
    """Images of noise around a brightness that gives the class."""

    def data() -> tuple:
        rng = np.random.default_rng(0)
        y = np.arange(SAMPLES) % CLASSES
        x = rng.normal(size=(SAMPLES, size, size, 3)) + y[:, None, None, None]
        return x.astype("float32"), y.astype("int32")

    return data


def bert() -> keras.Model:
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=SEQUENCE,
        dropout=0.0,
    )
    model = keras_hub.models.BertTextClassifier(
        backbone, num_classes=CLASSES, preprocessor=None, dropout=0.0
    )
    optimizer = exact(keras.optimizers.AdamW(0.01, weight_decay=0.01))
    return compiled(model, cross_entropy(), optimizer=optimizer, metrics=["accuracy"])


def gpt2() -> keras.Model:
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=VOCABULARY,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=SEQUENCE,
        dropout=0.0,
    )
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    optimizer = exact(keras.optimizers.Adam(0.01, global_clipnorm=1.0))
    return compiled(
        model, cross_entropy(), optimizer=optimizer, weighted_metrics=["accuracy"]
    )


def llama_model() -> keras.Model:
    import keras_hub

    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=2,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=16,
    )
    return keras_hub.models.LlamaCausalLM(backbone, preprocessor=None)


def compiled_llama(model: keras.Model) -> keras.Model:
    optimizer = exact(keras.optimizers.Adam(0.01))
    return compiled(
        model, cross_entropy(), optimizer=optimizer, weighted_metrics=["accuracy"]
    )


def llama() -> keras.Model:
    return compiled_llama(llama_model())


def llama_lora() -> keras.Model:
    model = llama_model()
    model.backbone.enable_lora(2)
    return compiled_llama(model)


def llama_int8_lora() -> keras.Model:
    model = llama_model()
    with warnings.catch_warnings():  # That an InputLayer has no weights to quantize.
        warnings.filterwarnings("ignore", "Layer .* does not have a `quantize` method")
        model.quantize("int8")
    model.backbone.enable_lora(2)
    return compiled_llama(model)


def vit() -> keras.Model:
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(
        image_shape=(8, 8, 3),
        patch_size=(4, 4),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
    )
    model = keras_hub.models.ViTImageClassifier(
        backbone, num_classes=CLASSES, preprocessor=None
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 10)
    optimizer = exact(keras.optimizers.Adam(schedule))
    return compiled(model, cross_entropy(), optimizer=optimizer, metrics=["accuracy"])


def application(name: str, **options: Any) -> Callable[[], keras.Model]:
    """A model of `keras.applications` on images of 32 x 32."""

    def build() -> keras.Model:
        model = getattr(keras.applications, name)(
            weights=None,
            input_shape=(32, 32, 3),
            classes=CLASSES,
            classifier_activation=None,
            **options,
        )
        optimizer = keras.optimizers.SGD(1e-5, momentum=0.9, nesterov=True)
        return compiled(
            model, cross_entropy(), optimizer=optimizer, metrics=["accuracy"]
        )

    return build


@contextmanager
def gradients_of_torch() -> Iterator[None]:
    """Keeps PyTorch's autograd on, which importing BayesFlow turns off."""
    if BACKEND != "torch":
        yield
        return
    import torch

    enabled = torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_grad_enabled(enabled)


def flow() -> keras.Model:
    """BayesFlow: a `train_step` of its own, a loss that Keras does not know of."""
    import bayesflow

    if hasattr(bayesflow, "estimators"):
        kind = bayesflow.estimators.BasicEstimator
    else:  # Before BayesFlow 2.1.
        kind = bayesflow.ContinuousApproximator
    model = kind(
        inference_network=bayesflow.networks.CouplingFlow(
            depth=2, subnet_kwargs={"widths": (8,), "dropout": 0.0}
        ),
        summary_network=bayesflow.networks.DeepSet(
            summary_dim=4,
            depth=1,
            mlp_widths_equivariant=(8,),
            mlp_widths_invariant_inner=(8,),
            mlp_widths_invariant_outer=(8,),
            mlp_widths_invariant_last=(8,),
            dropout=0.0,
        ),
        standardize=None,  # By moving moments: the loss would depend on past batches.
    )
    x, _ = simulations()
    model.build_from_data(keras.tree.map_structure(keras.ops.convert_to_tensor, x))
    return compiled(model, None, optimizer=keras.optimizers.Adam(0.01))


def simulations() -> tuple:
    """Parameters of a normal distribution, and samples of it."""
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(SAMPLES, 2))
    noise = rng.normal(size=(SAMPLES, 5, 1))
    samples = parameters[:, :1, None] + np.exp(parameters[:, 1:, None]) * noise
    x = {"inference_variables": parameters, "summary_variables": samples}
    return {name: array.astype("float32") for name, array in x.items()}, None


def flow_loss(model: keras.Model, x: Any, y: Any, sample_weight: Any) -> Any:
    return model.compute_metrics(**x, stage="training")["loss"]


def ranking() -> keras.Model:
    """keras-rs: embeddings of a user and of what it bought, crossed."""
    from keras_rs.layers import DotInteraction, EmbedReduce, FeatureCross

    inputs = {
        "user": keras.Input((), dtype="int32", name="user"),
        "bought": keras.Input((4,), dtype="int32", name="bought"),
    }
    user = EmbedReduce(VOCABULARY, 8, name="users")(inputs["user"])
    bought = EmbedReduce(VOCABULARY, 8, name="items")(inputs["bought"])
    crossed = FeatureCross(projection_dim=4)(keras.ops.concatenate([user, bought], -1))
    dots = DotInteraction()([user, bought])
    rating = keras.layers.Dense(1)(keras.ops.concatenate([crossed, dots], -1))
    model = keras.Model(inputs, rating)
    optimizer = exact(keras.optimizers.Adagrad(0.1))
    return compiled(model, "mse", optimizer=optimizer, metrics=["mae"])


def distributed_embedding() -> keras.Model:
    """keras-rs: one table that two features share, with its own kind of layer."""
    from keras_rs.layers import DistributedEmbedding, FeatureConfig, TableConfig

    table = TableConfig("items", VOCABULARY, 8, placement="default_device")
    features = {
        "user": FeatureConfig("user", table, (None,), (None, 8)),
        "bought": FeatureConfig("bought", table, (None, 4), (None, 8)),
    }
    inputs = {
        "user": keras.Input((), dtype="int32", name="user"),
        "bought": keras.Input((4,), dtype="int32", name="bought"),
    }
    found = DistributedEmbedding(features)(inputs)
    joined = keras.ops.concatenate([found["user"], found["bought"]], axis=-1)
    hidden = keras.layers.Dense(8, "relu")(joined)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    optimizer = exact(keras.optimizers.Adam(0.01))
    return compiled(model, "mse", optimizer=optimizer, metrics=["mae"])


def purchases() -> tuple:
    """A user, four items, and a rating."""
    rng = np.random.default_rng(0)
    x = {"user": tokens(SAMPLES) % 5, "bought": tokens(SAMPLES, 4)}
    return x, rng.normal(size=(SAMPLES, 1)).astype("float32")


HUB = {
    "library": "keras_hub",
    "refused": {"generator": "KerasHub's fit makes a tf.data.Dataset of its inputs"},
    "kerass_fit": True,
}
APPLICATION = {"library": "keras_hub", "data": images(32), "epochs": 1}
ZOO = [
    Zoo("BERT", build=bert, data=text, **HUB),
    Zoo("GPT-2", build=gpt2, data=next_tokens, **HUB),
    Zoo("Llama", build=llama, data=next_tokens, **HUB),
    Zoo("Llama LoRA", build=llama_lora, data=next_tokens, **HUB),
    Zoo("Llama int8 LoRA", build=llama_int8_lora, data=next_tokens, **HUB),
    Zoo("ViT", build=vit, data=images(8), **HUB),
    Zoo(
        "MobileNetV3Small",
        build=application(
            "MobileNetV3Small", dropout_rate=0.0, include_preprocessing=False
        ),
        **APPLICATION,
    ),
    Zoo("ResNet50", build=application("ResNet50"), **APPLICATION),
    Zoo(
        "BayesFlow",
        "bayesflow",
        flow,
        simulations,
        flow_loss,
        "dataset",
        refused={
            "generator": "BayesFlow's step takes a dict, Keras' generators a tuple"
        },
    ),
    Zoo("keras-rs ranking", "keras_rs", ranking, purchases),
    Zoo("keras-rs table", "keras_rs", distributed_embedding, purchases),
]
