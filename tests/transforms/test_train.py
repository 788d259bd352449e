from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.spec import ClipSpec
from slowfast_hub.transforms.eval import EvalTransform, normalise
from slowfast_hub.transforms.geometry import resize
from slowfast_hub.transforms.train import Draw, TrainTransform

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


def drawn(transform: TrainTransform, **changes) -> Draw:
    return replace(transform.draw(4, 6, generator=seeded(0)), size=(1, 6), contrast=1.0, brightness=0.0, **changes)


def test_a_crop_cuts_what_is_too_large_and_pads_what_is_too_small():
    spec = ClipSpec(frames=1, crop=4, short_side=4, mean=(0, 0, 0), std=(1 / 255,) * 3)
    transform = TrainTransform(spec, (4, 4))
    row = torch.arange(1, 7, dtype=torch.uint8).view(1, 1, 6, 1).expand(1, 1, 6, 3)
    first = transform.apply(row, drawn(transform, down=0, right=0, flip=False), count=1)
    assert first[0, 0].round().tolist() == [[1, 2, 3, 4], [0] * 4, [0] * 4, [0] * 4]
    last = transform.apply(row, drawn(transform, down=-3, right=2, flip=False), count=1)
    assert last[0, 0].round().tolist() == [[0] * 4, [0] * 4, [0] * 4, [3, 4, 5, 6]]
    mirrored = transform.apply(row, drawn(transform, down=-3, right=2, flip=True), count=1)
    assert mirrored[0, 0, 3].round().tolist() == [6, 5, 4, 3]


@given(st.integers(0, 1000), st.booleans())
def test_a_crop_is_that_of_the_whole_resized_picture(seed, antialias):
    spec = ClipSpec(frames=4, short_side=24, crop=20, antialias=antialias)
    transform = TrainTransform(spec, (20, 50), aspect=0.3)
    draw = transform.draw(30, 40, generator=seeded(seed))
    whole = normalise(resize(FRAMES.permute(3, 0, 1, 2).float(), draw.size, antialias=antialias), spec)
    down, right = max(0, draw.down), max(0, draw.right)
    part = whole[:, :, down : down + 20, right : right + 20]
    part = part.flip(3) if draw.flip else part
    clip = transform.apply(FRAMES, draw, count=4)
    assert torch.allclose(clip.abs().sum(), part.abs().sum(), rtol=1e-4)
    if part.shape[2:] == (20, 20):
        assert torch.allclose(clip, part, atol=1e-5)


def test_half_of_the_inverse_scales_are_below_the_harmonic_mean():
    transform = TrainTransform(ClipSpec(), (100, 300), jitter_inverse=True)
    generator = seeded(0)
    sides = [transform.draw(1000, 1000, generator=generator).size[0] for _ in range(2000)]
    assert min(sides) >= 100
    assert max(sides) <= 300
    assert 0.45 < sum(side < 150 for side in sides) / 2000 < 0.55  # 2 / (1 / 100 + 1 / 300)


@pytest.mark.parametrize("augmented", [{"color": 0.5}, {"rand_augment": 15}, {"erase": 1.0}])
def test_every_frame_is_augmented_alike_and_a_seed_gives_it_again(augmented):
    still = FRAMES[:1].expand(4, -1, -1, -1)
    transform = TrainTransform(ClipSpec(frames=4, short_side=24, crop=24), (24, 36), **augmented)
    plain = TrainTransform(ClipSpec(frames=4, short_side=24, crop=24), (24, 36))
    before = torch.get_rng_state()
    clip = transform(still, generator=seeded(3))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(clip[:, 0], clip[:, t]) for t in range(4))
    assert torch.equal(clip, transform(still, generator=seeded(3)))
    assert not torch.equal(clip, plain(still, generator=seeded(3)))


def test_a_box_is_resized_cut_out_and_mirrored_with_its_picture():
    """A picture of 80 x 40 px at half the size, cut 10 px from the left and 2 from the top: 20 / 2 - 10 and so on."""
    transform = TrainTransform(ClipSpec(frames=1, short_side=20, crop=16), (20, 20))
    draw = replace(drawn(transform, down=2, right=10, flip=False), size=(20, 40))
    boxes = torch.tensor([[20.0, 8, 44, 36], [0, 0, 20, 40]])
    moved = transform.boxes(boxes, draw, height=40, width=80)
    assert moved.tolist() == [[0, 2, 12, 16], [0, 0, 0, 16]]  # the second lies outside: it has no width
    mirrored = transform.boxes(boxes, replace(draw, flip=True), height=40, width=80)
    assert mirrored.tolist() == [[4, 2, 16, 16], [16, 0, 16, 16]]


@given(st.integers(0, 1000), st.sampled_from(["cover", "contain"]))
def test_boxes_lie_where_their_pixels_are(seed, fit):
    """A white box on black; what is lighter than grey in the clip reaches as far as the box, to a pixel."""
    transform = TrainTransform(ClipSpec(frames=1, short_side=40, crop=36, fit=fit), (40, 50), aspect=0.2)
    picture = torch.zeros(1, 60, 80, 3, dtype=torch.uint8)
    picture[:, 20:44, 30:66] = 255
    draw = transform.draw(60, 80, generator=seeded(seed))
    light = transform.apply(picture, draw, count=1)[0, 0] > 0
    (box,) = transform.boxes(torch.tensor([[30.0, 20, 66, 44]]), draw, height=60, width=80).tolist()
    across, down = light.any(0).nonzero().flatten(), light.any(1).nonzero().flatten()
    if len(across):
        found = [int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1]
        assert found == pytest.approx(box, abs=1.01)
    else:
        assert min(box[2] - box[0], box[3] - box[1]) < 1.01
