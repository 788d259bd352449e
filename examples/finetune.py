"""Train a network on a folder per class and save it: `python examples/finetune.py FOLDER OUT`.

The embedded network is the start; its classifier is made anew for the classes of the folder.
"""

import sys

from slowfast_hub import save_pretrained, weights_info
from slowfast_hub.trainer.data import hold_in_memory, read_folder
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.train import train
from slowfast_hub.zoo.fetch import weights_path

EMBEDDED = "slowfast_r14_4x16_w16"


def main(folder: str, out: str, epochs: float = 20) -> None:
    samples, classes = read_folder(folder)
    recipe = Recipe(
        EMBEDDED,
        init=str(weights_path(weights_info(EMBEDDED))),
        epochs=epochs,
        batch_size=min(12, len(samples)),
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
        warmup_epochs=1,
        jitter=(56, 74),
    )
    model = train(recipe, hold_in_memory(samples, longest=96), num_classes=len(classes), log=print)
    save_pretrained(model, out, labels=classes)
    print(f"{out}: {len(classes)} classes; load it with Predictor('local-dir:{out}')")


if __name__ == "__main__":
    main(*sys.argv[1:3])
