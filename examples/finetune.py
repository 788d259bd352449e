"""Train a network on your own videos and ask it: `python examples/finetune.py FOLDER OUT [KEY=VALUE]...`.

FOLDER has one folder for each class. The embedded network is the start; its classifier is made anew for the classes of
the folder. KEY=VALUE are fields of the recipe, such as epochs=10. Needs `pip install -e ".[train]"`.
"""

import sys

from slowfast_hub import Predictor
from slowfast_hub.trainer.evaluate import evaluate
from slowfast_hub.trainer.formats import read_videos
from slowfast_hub.trainer.metrics import measure
from slowfast_hub.trainer.recipe import read_recipe
from slowfast_hub.trainer.train import train

START = "slowfast_r14_4x16_w16.hub_actions16"


def main(folder: str, out: str, *overrides: str) -> None:
    videos = read_videos(folder)
    recipe = read_recipe("finetune", [f"model={START}", *overrides])
    model = train(recipe, videos, out=out, show=True)
    held_out = videos.test or videos.val
    print(measure(evaluate(model, held_out, classes=videos.classes)).line)
    print(Predictor(f"local-dir:{out}")(held_out[0].video))


if __name__ == "__main__":
    main(*sys.argv[1:])
