from pathlib import Path

import pytest

from slowfast_hub.trainer.recipe import Recipe, read_recipe

WORKSHOP = Path(__file__).parents[2] / "weights" / "embedded"


@pytest.mark.parametrize("path", sorted(WORKSHOP.glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_file_reads(path):
    assert read_recipe(path).epochs > 0


def test_overrides_win_over_the_file(tmp_path):
    (tmp_path / "r.toml").write_text('model = "slow_r50_8x8"\nepochs = 3\nwarmup_epochs = 1\njitter = [40, 50]\n')
    recipe = read_recipe(tmp_path / "r.toml", epochs=5)
    assert (recipe.epochs, recipe.jitter) == (5, (40, 50))


def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "r.toml").write_text('model = "slow_r50_8x8"\nlearning_rate = 3\n')
    with pytest.raises(TypeError, match=r"'learning_rate'; its fields are model, .*lr"):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"jitter": (9, 3)},
        {"flip": 2},
        {"speed": 1.0},
        {"epochs": 3, "warmup_epochs": 4},
    ],
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "warmup_epochs" not in wrong else "warmup_epochs"):
        Recipe("slow_r50_8x8", **wrong)
