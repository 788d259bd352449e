from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.trainer.recipe import Recipe, list_recipes, read_recipe, recipe_of, to_toml

TEXT = 'model = "slowfast_r50_4x16"\nepochs = 10\nwarmup_epochs = 1\njitter = [256, 320]\nchanges = { dropout = 0.2 }\n'


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(TEXT)
    return path


def test_a_file_has_the_fields_as_keys_and_overrides_win(file):
    recipe = read_recipe(file, ["lr=0.2", "epochs=5", "jitter=[224, 256]", "optimizer=adamw", "flip=0"])
    assert (recipe.model, recipe.lr, recipe.epochs) == ("slowfast_r50_4x16", 0.2, 5.0)
    assert (recipe.jitter, recipe.optimizer, recipe.flip) == ((224, 256), "adamw", 0.0)
    assert read_recipe(file, {"lr": 0.2}).lr == 0.2


def test_an_override_reaches_into_a_table(file):
    recipe = read_recipe(file, ["changes.num_classes=3", "swap={left = 'right'}", "clip_grad=none"])
    assert recipe.changes == {"dropout": 0.2, "num_classes": 3}
    assert recipe.swap == {"left": "right"}
    assert recipe.clip_grad is None


def test_all_that_is_longer_than_the_run_is_named_at_once():
    said = "warmup_epochs 2 and head_epochs 3 are longer than the run of 1 epochs: lower them too, as warmup_epochs=0 h"
    with pytest.raises(ValueError, match=said):
        Recipe("any", epochs=1, warmup_epochs=2, head_epochs=3)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epoch=5", "no field 'epoch'; did you mean 'epochs'"),
        ("epochs=many", "epochs is float; got 'many'"),
        ("batch_size=2.5", "batch_size is int; got 2.5"),
        ("batch_size=true", "batch_size is int; got True"),
        ("jitter=[224.5, 300]", r"jitter is tuple\[int, int\] \| None; got \[224.5, 300\]"),
        ("model=none", "model is str; got None"),
        ("changes.clip.fps=24", "give a whole one else"),
        ("lr.x=1", "give a whole one else"),
    ],
)
def test_unknown_fields_and_values_of_another_kind_are_refused(file, override, said):
    with pytest.raises(TypeError, match=said):
        read_recipe(file, [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs", "an override is key=value; got 'epochs'"),
        ("flip=2", r"flip must be in 0\.\.1; got 2"),
        ("warmup_epochs=20", "warmup_epochs 20.0 is longer than the run of 10.0 epochs"),
        ("jitter=[300, 200]", r"jitter is \(smallest, largest\)"),
        ("batch_norm=sunk", "must be one of 'batch', 'frozen', 'sync'"),
        ("milestones=[3]", "milestones are ascending epochs of schedule='steps'"),
        ("epochs=0", "epochs is above 0"),
        ("lr=inf", "finite as lr is"),
        ("seed=-1", "seed is a whole number from 0"),
        ("changes.depth=none", "changes cannot hold None"),
        ("swap={a='b', b='c'}", "each class once"),
        ("precise_norm=3", "leave one of them out"),
        ("micro_batch=0", "micro_batch must be a whole number of at least 1"),
    ],
)
def test_impossible_values_are_refused(file, override, said):
    frozen = ["batch_norm=frozen"] if "precise" in override else []
    with pytest.raises(ValueError, match=said):
        read_recipe(file, [override, *frozen])


def test_a_recipe_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(FileNotFoundError, match=r"give a \.toml file or one of"):
        read_recipe("nothing")


def test_a_recipe_without_a_model_asks_for_one(tmp_path):
    (tmp_path / "r.toml").write_text("lr = 1.0\n")
    with pytest.raises(TypeError, match="add model=NAME"):
        read_recipe(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("lr = \n")
    with pytest.raises(ValueError, match="not TOML"):
        read_recipe(tmp_path / "r.toml")


def test_the_rate_grows_with_the_clips_of_a_step():
    """The paper's 1.6 for 1024 clips is 0.1 for 64 (Goyal et al. 2017)."""
    recipe = Recipe("any", lr=1.6, lr_batch=1024, batch_size=64)
    assert recipe.rate_for(64) == pytest.approx(0.1)
    assert Recipe("any", lr=0.3, batch_size=8).rate_for(8) == 0.3


def test_a_recipe_is_written_and_read_back_as_it_is(file):
    overrides = ['swap={"a \\"b\\"" = "ü\\n"}', "milestones=[1.5, 3]", "schedule=steps", "layer_decay=0.75"]
    recipe = read_recipe(file, overrides)
    assert recipe_of(to_toml(recipe)) == recipe


@given(st.text(), st.floats(0, 1), st.dictionaries(st.text(), st.integers() | st.booleans() | st.lists(st.integers())))
def test_any_text_and_number_survive_the_way_through_toml(text, number, table):
    table = {key: value % 2**60 if type(value) is int else value for key, value in table.items()}
    table = {key: [item % 2**60 for item in value] if type(value) is list else value for key, value in table.items()}
    recipe = Recipe(text, changes=table, flip=number)
    assert recipe_of(to_toml(recipe)) == recipe


@pytest.mark.parametrize("name", list_recipes())
def test_what_ships_is_a_recipe(name):
    recipe = read_recipe(name, {"model": "slowfast_r50_4x16"})
    assert replace(recipe, seed=1).seed == 1
