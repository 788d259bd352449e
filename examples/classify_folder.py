"""One network, many videos: `python examples/classify_folder.py FOLDER` prints the best label of every file in it."""

import sys
from pathlib import Path

from slowfast_hub import Predictor, VideoError


def main(folder: str) -> None:
    predict = Predictor(views="centre")
    for path in sorted(Path(folder).glob("*.mp4")):
        try:
            (best,) = predict(path).top(1)
            print(f"{best['score']:.2f}  {best['label']:<12}  {path.name}")
        except VideoError as error:
            print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
