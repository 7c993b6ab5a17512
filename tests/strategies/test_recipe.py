"""Recipes as values: equal, hashable, in another process too."""

import pickle
import subprocess
import sys

from autoquant.strategies.base import Recipe

PARAMETERS = {"layer/b": "int8", "layer/a": "fp32", "correction/bias": "on"}


def test_equal_recipes_stay_two_objects_with_parameters_of_their_own():
    one, other = Recipe(PARAMETERS), Recipe(dict(reversed(PARAMETERS.items())))
    before = one._parameters
    assert one == other
    assert hash(one) == hash(other)
    assert one._parameters is before
    assert one != Recipe({**PARAMETERS, "layer/a": "int8"})
    assert one != dict(one)


def test_a_recipe_from_another_process_is_found_under_its_hash():
    code = (
        "import pickle, sys; from autoquant.strategies.base import Recipe; "
        f"sys.stdout.buffer.write(pickle.dumps(Recipe({PARAMETERS!r})))"
    )
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60).stdout
    assert pickle.loads(made) in {Recipe(PARAMETERS)}
