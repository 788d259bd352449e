"""Every Python block of the README and of two pages of docs/ runs, and what its comments promise is what comes out."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = README + "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("video.md", "detection.md"))
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def close(shown: object, got: object) -> bool:
    """Equal, numbers to the two digits that a README prints."""
    if isinstance(shown, float):
        return abs(shown - got) < 0.006
    if isinstance(shown, list | tuple):
        return len(shown) == len(got) and all(map(close, shown, got))
    if isinstance(shown, dict):
        return shown.keys() == got.keys() and all(close(shown[key], got[key]) for key in shown)
    return shown == got


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_runs_and_gives_the_output_in_its_comments(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    scope: dict[str, object] = {}
    lines = block.splitlines()
    for statement in ast.parse(block).body:
        source = ast.unparse(statement)
        promised = (
            re.match(r"# (?=[\[{'\d])(.*)", lines[statement.end_lineno]) if statement.end_lineno < len(lines) else None
        )
        if promised is None:
            exec(source, scope)
        else:
            assert close(ast.literal_eval(promised[1]), eval(source, scope))


def test_there_are_blocks_and_promises_to_check():
    assert len(BLOCKS) >= 4
    assert sum(len(re.findall(r"^# [\[{'\d]", block, flags=re.MULTILINE)) for block in BLOCKS) >= 3


def test_the_first_command_stands_on_the_first_screen():
    assert README[: README.index("slowfast-hub classify")].count("\n") < 30


def test_continuous_integration_runs_the_readme_test_command():
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pip install -e ".[dev]" && pytest' in README
