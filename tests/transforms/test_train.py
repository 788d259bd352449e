import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.spec import ClipSpec
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.transforms.train import TrainTransform, place

FRAMES = torch.randint(0, 256, (4, 30, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_chance_a_whole_picture_is_what_evaluation_sees():
    spec = ClipSpec(frames=4, short_side=30, crop=30)
    square = FRAMES[:, :, 5:35]
    clip = TrainTransform(spec, (30, 30), flip=0.0)(square, generator=seeded(0))
    assert torch.allclose(clip, EvalTransform(spec)(square), atol=1e-6)


def test_flip_one_always_mirrors():
    spec = ClipSpec(frames=4, short_side=30, crop=30)
    square = FRAMES[:, :, 5:35]
    plain, mirrored = (TrainTransform(spec, (30, 30), flip=p)(square, generator=seeded(0)) for p in (0.0, 1.0))
    assert torch.equal(plain.flip(3), mirrored)


def test_a_seed_gives_the_same_clip_again():
    transform = TrainTransform(ClipSpec(frames=4, short_side=24, crop=24), (24, 36), aspect=0.2, light=0.3)
    first, again, other = (transform(FRAMES, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(st.integers(0, 100), st.sampled_from(["cover", "contain"]), st.integers(20, 30))
def test_any_draw_gives_a_square_of_the_crop(seed, fit, low):
    spec = ClipSpec(frames=4, short_side=24, crop=20, fit=fit)
    clip = TrainTransform(spec, (low, 34), aspect=0.3, light=0.3)(FRAMES, generator=seeded(seed))
    assert clip.shape == (3, 4, 20, 20)
    assert clip.isfinite().all()


def test_place_cuts_what_is_too_large_and_pads_what_is_too_small():
    row = torch.arange(1.0, 7.0).view(1, 1, 1, 6)
    assert place(row, 4, down=0.0, right=0.0)[0, 0, :, :].tolist() == [[1, 2, 3, 4], [0] * 4, [0] * 4, [0] * 4]
    assert place(row, 4, down=1.0, right=1.0)[0, 0, 3].tolist() == [3, 4, 5, 6]
