"""SlowFast video networks: name in, model or answer out.

The names below are loaded when they are first used, so that importing the package costs little more than torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from slowfast_hub.people.finder import PersonDetector as PersonDetector
    from slowfast_hub.people.tracker import Tracker as Tracker
    from slowfast_hub.predict.detector import Detector as Detector
    from slowfast_hub.predict.features import FeatureExtractor as FeatureExtractor
    from slowfast_hub.predict.features import Features as Features
    from slowfast_hub.predict.features import features as features
    from slowfast_hub.predict.people_features import PeopleFeatureExtractor as PeopleFeatureExtractor
    from slowfast_hub.predict.people_features import PeopleFeatures as PeopleFeatures
    from slowfast_hub.predict.predictor import Predictor as Predictor
    from slowfast_hub.predict.predictor import classify as classify
    from slowfast_hub.predict.segments import Segment as Segment
    from slowfast_hub.predict.stream import StreamClassifier as StreamClassifier
    from slowfast_hub.predict.stream import WindowScore as WindowScore
    from slowfast_hub.predict.timeline import Timeline as Timeline
    from slowfast_hub.predict.timeline import timeline as timeline
    from slowfast_hub.spec import Clip as Clip
    from slowfast_hub.spec import ClipSpec as ClipSpec
    from slowfast_hub.spec import Detection as Detection
    from slowfast_hub.spec import Limits as Limits
    from slowfast_hub.spec import LoadReport as LoadReport
    from slowfast_hub.spec import Prediction as Prediction
    from slowfast_hub.spec import ResNet3DArch as ResNet3DArch
    from slowfast_hub.spec import RoISpec as RoISpec
    from slowfast_hub.spec import SlowFastArch as SlowFastArch
    from slowfast_hub.spec import VideoError as VideoError
    from slowfast_hub.spec import VideoInfo as VideoInfo
    from slowfast_hub.spec import VideoLimitError as VideoLimitError
    from slowfast_hub.spec import WeightsInfo as WeightsInfo
    from slowfast_hub.transforms.eval import EvalTransform as EvalTransform
    from slowfast_hub.video.clips import sample_clip as sample_clip
    from slowfast_hub.video.reader import open_video as open_video
    from slowfast_hub.video.reader import read_frames as read_frames
    from slowfast_hub.zoo.create import create_model as create_model
    from slowfast_hub.zoo.create import from_pretrained as from_pretrained
    from slowfast_hub.zoo.fetch import FetchError as FetchError
    from slowfast_hub.zoo.hub import push_to_hub as push_to_hub
    from slowfast_hub.zoo.hub import save_pretrained as save_pretrained
    from slowfast_hub.zoo.load import LoadError as LoadError
    from slowfast_hub.zoo.load import load_weights as load_weights
    from slowfast_hub.zoo.registry import list_models as list_models
    from slowfast_hub.zoo.registry import register_model as register_model
    from slowfast_hub.zoo.registry import weights_info as weights_info
    from slowfast_hub.zoo.timm_names import register_timm as register_timm

HOME = {
    "people.finder": ("PersonDetector",),
    "people.tracker": ("Tracker",),
    "predict.detector": ("Detector",),
    "predict.features": ("FeatureExtractor", "Features", "features"),
    "predict.people_features": ("PeopleFeatureExtractor", "PeopleFeatures"),
    "predict.predictor": ("Predictor", "classify"),
    "predict.segments": ("Segment",),
    "predict.stream": ("StreamClassifier", "WindowScore"),
    "predict.timeline": ("Timeline", "timeline"),
    "spec": (
        "Clip",
        "ClipSpec",
        "Detection",
        "Limits",
        "LoadReport",
        "Prediction",
        "ResNet3DArch",
        "RoISpec",
        "SlowFastArch",
        "VideoError",
        "VideoInfo",
        "VideoLimitError",
        "WeightsInfo",
    ),
    "transforms.eval": ("EvalTransform",),
    "video.clips": ("sample_clip",),
    "video.reader": ("open_video", "read_frames"),
    "zoo.create": ("create_model", "from_pretrained"),
    "zoo.fetch": ("FetchError",),
    "zoo.hub": ("push_to_hub", "save_pretrained"),
    "zoo.load": ("LoadError", "load_weights"),
    "zoo.registry": ("list_models", "register_model", "weights_info"),
    "zoo.timm_names": ("register_timm",),
}
MODULE_OF = {name: module for module, names in HOME.items() for name in names}

__all__ = sorted([*MODULE_OF, "__version__"])


def __getattr__(name: str) -> object:
    if name not in MODULE_OF:
        raise AttributeError(f"module 'slowfast_hub' has no attribute {name!r}")
    value = getattr(import_module(f"slowfast_hub.{MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *MODULE_OF])
