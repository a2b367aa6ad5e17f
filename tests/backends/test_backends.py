import keras
import pytest

from hrcallbacks.backends.current import backend, check_versions


def test_private_attribute_trainable_variables_of_an_optimizer():
    """`Optimizer._trainable_variables`: what the optimizer was built for, in order."""
    variables = [keras.Variable(1.0), keras.Variable([2.0])]
    optimizer = keras.optimizers.Adam()
    optimizer.build(variables)
    built_for = optimizer._trainable_variables
    assert [id(v) for v in built_for] == [id(v) for v in variables]


def test_scale_loss_returns_its_argument_where_nothing_is_scaled():
    one = 1.0
    assert keras.optimizers.Adam().scale_loss(one) is one
    assert float(keras.optimizers.Adam(loss_scale_factor=8.0).scale_loss(one)) == 8.0


@pytest.mark.parametrize("version", ["3.9.2", "2.15.0"])
def test_keras_that_is_too_old_is_refused_by_name(version):
    with pytest.raises(ImportError, match=rf"needs Keras 3.10.*Found: Keras {version}"):
        check_versions(version, "tensorflow")


def test_unknown_backend_is_refused_by_name():
    with pytest.raises(ImportError, match=r"'openvino'.*KERAS_BACKEND"):
        check_versions("3.15.1", "openvino")


def test_the_backend_is_kerass():
    assert type(backend).__name__.lower() == keras.config.backend()
