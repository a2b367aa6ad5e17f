"""Keras objects made from the configs of a recording, without running anything else.

A store may come from anywhere. So only classes that are already loaded are used, and
only of the kinds that make up an optimizer or a constraint. No module is imported, no
function called and no lambda loaded because a config names it.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

# Keras' names for plain data.
_PLAIN = ("__numpy__", "__tensor__", "__bytes__", "__slice__", "__ellipsis__")


def revive(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> Any:
    """The object from which `keras.saving.serialize_keras_object` made a config.

    Args:
        config: The config. It is copied, since Keras' `from_config` may change its
            argument.
        custom_objects: Classes and functions by name, for those that are not found.

    Returns:
        An optimizer or a constraint.

    Raises:
        TypeError: If `custom_objects` is not a dict.
        ValueError: If the config names something that is not found, or its class cannot
            be made from it.
    """
    import keras

    if not isinstance(custom_objects, Mapping | None):
        raise TypeError(
            "Expected custom_objects: a dict from names to classes or functions. "
            f"Received: {custom_objects!r}. Try custom_objects={{'Lion2': Lion2}}."
        )
    found: dict[str, Any] = {}
    checked = _checked(config, dict(custom_objects or {}), found)
    try:
        return keras.saving.deserialize_keras_object(
            checked, custom_objects=found, safe_mode=True
        )
    except Exception as error:  # Whatever a user's from_config raises.
        raise ValueError(
            f"The class {config['class_name']!r} cannot be made again from its "
            "config. Its from_config or __init__ must accept what its get_config "
            "returns."
        ) from error


def _checked(config: Any, custom: Mapping[str, Any], found: dict[str, Any]) -> Any:
    """A copy of a config that names only Keras' classes and those in `found`."""
    if isinstance(config, list | tuple):
        return [_checked(item, custom, found) for item in config]
    if not isinstance(config, dict):
        return config
    copy = {key: _checked(value, custom, found) for key, value in config.items()}
    if not {"class_name", "config"} <= set(config) or config["class_name"] in _PLAIN:
        return copy
    # A unique name: two modules may have classes with the same name.
    name = f"recorded>{config.get('module')}.{config['class_name']}.{len(found)}"
    found[name] = _named(config, custom)
    if config["class_name"] == "function":  # Keras looks these up by their config.
        copy["config"] = name
    kept = {key: copy.get(key) for key in ("module", "class_name", "config")}
    return kept | {"registered_name": name}


def _named(config: dict[str, Any], custom: Mapping[str, Any]) -> Any:
    """The class or function that a config names."""
    import keras

    if config["class_name"] == "__lambda__":
        raise ValueError(
            "The recording contains a lambda, whose code a replay does not run. "
            "Train with a named function or a class instead."
        )
    is_function = config["class_name"] == "function"
    name = config["config"] if is_function else config["class_name"]
    for key in (config.get("registered_name"), name):
        if isinstance(key, str):
            given = custom.get(key) or keras.saving.get_registered_object(key)
            if given is not None:
                return given
    loaded = None if is_function else _loaded_class(config.get("module"), name)
    if loaded is None:
        raise ValueError(_missing("function" if is_function else "class", name, config))
    return loaded


def _missing(kind: str, name: Any, config: dict[str, Any]) -> str:
    why = (
        "a replay calls no function just because a recording names it"
        if kind == "function"
        else "no optimizer, schedule or constraint with that name is loaded"
    )
    return (
        f"The recording names the {kind} {name!r} of the module "
        f"{config.get('module')!r}, and {why}. "
        f"{'Pass' if kind == 'function' else 'Import it first, or pass'} it: "
        f"recording.replay(custom_objects={{{name!r}: {name}}})."
    )


def _loaded_class(module: Any, name: Any) -> type | None:
    """The loaded class with that name, if it is an optimizer or a part of one."""
    classes = _classes()
    # On PyTorch, Keras' optimizers have backend classes.
    of_backend = str(module).startswith("keras.src.backend.")
    public = _public(f"{'keras.optimizers' if of_backend else module}.{name}")
    if any(cls is public for cls in classes):
        return public
    same = [c for c in classes if (c.__module__, c.__name__) == (module, name)]
    return same[-1] if same else None  # The latest, if a notebook's cell ran twice.


def _public(name: str) -> Any:
    """The object with a public name in Keras, such as `keras.optimizers.Adam`."""
    import keras

    package, *parts = name.split(".")
    place: Any = keras if package == "keras" else None
    for part in parts:
        place = vars(place).get(part) if isinstance(place, ModuleType) else None
    return place


def _classes() -> list[type]:
    """All loaded classes that make up optimizers and constraints."""
    import keras

    classes: list[type] = [
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.constraints.Constraint,
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
    ]
    if hasattr(keras.optimizers, "OptimizerMap"):  # Part of a MultiOptimizer.
        classes.append(keras.optimizers.OptimizerMap)
    for cls in classes:  # The list grows meanwhile.
        classes += cls.__subclasses__()
    return classes
