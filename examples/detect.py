"""Who does what, where: `python examples/detect.py VIDEO X1 Y1 X2 Y2` says what the person in this box does.

The box is normalised: 0 0 1 1 is the whole picture. No detector comes with the package, so here one is made of the
weights that do: they classify whole clips, and only how their maps are pooled is another. Networks that were trained
for boxes have `_det` in their names, and `Detector` takes those names; without `boxes` it finds the people itself.
"""

import sys

from slowfast_hub import Detector, RoISpec, create_model


def main(video: str, *box: str) -> None:
    network = create_model("slowfast_r14_4x16_w16", pretrained=True, roi=RoISpec())
    detect = Detector(network)
    for moment in detect.along(video, boxes=[[float(side) for side in box]], unit="normalised"):
        (actions,) = moment.top(2)
        said = ", ".join(f"{action['label']} {action['score']:.2f}" for action in actions)
        print(f"{moment.at_s:6.2f} s  {said}")


if __name__ == "__main__":
    main(*sys.argv[1:])
