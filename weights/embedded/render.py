"""Renders short clips of articulated human figures, labelled by what the figures do.

The clips pre-train a small video network before it sees the little real footage there is. What has to be right is
the motion (periods, phase relations of arms and legs, displacement, who reacts to whom and when); looks, view and
background are drawn at random and independently of the label, so that motion is the only thing that gives it away.

A figure is a small 3-D skeleton. Units: lengths are in body heights (an average figure is 1.0 tall), angles in
radians inside the code and in degrees where a pose is written down, time in seconds. Figure coordinates are
(forward, left, up); scene coordinates are (x right, y away from the camera, z up).

    python render.py --out sheet.png --per-class 2        # contact sheet
    python render.py --out set.npz --per-class 100 --seed 1 --workers 2
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = (
    "bend",
    "jack",
    "jump",
    "pjump",
    "run",
    "side",
    "skip",
    "walk",
    "wave1",
    "wave2",
    "handshaking",
    "hugging",
    "kicking",
    "pointing",
    "punching",
    "pushing",
)
PAIR_CLASSES = frozenset(CLASSES[10:])

PAD_VALUE = 115  # 0.45 * 255: the gray that the input pipeline pads with
SUPERSAMPLE = 2  # figures are drawn this much larger, then reduced: PIL draws hard edges
MIN_CONTRAST = 40  # 0..255, between clothes and background
SOLO_ASPECT = 1.25  # width / height of the single-person recordings
CAP_ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 5)  # rounded end of a limb as a polyline
TAU = 2 * np.pi

Array = np.ndarray
RNG = np.random.Generator


# ---------------------------------------------------------------------------------------------------------------------
# Functions of time
# ---------------------------------------------------------------------------------------------------------------------


def ramp(t: Array, start: float, length: float) -> Array:
    """Smooth step from 0 to 1 that begins at `start` and takes `length` seconds. (T,) -> (T,)."""
    u = np.clip((t - start) / max(length, 1e-3), 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


def pulse(t: Array, start: float, rise: float, hold: float, fall: float) -> Array:
    """0, up to 1 in `rise` s, 1 for `hold` s, back to 0 in `fall` s. (T,) -> (T,)."""
    return ramp(t, start, rise) - ramp(t, start + rise + hold, fall)


def wobble(t: Array, rng: RNG, size: float) -> Array:
    """Slow irregular sway of about `size`: nobody stands still or repeats exactly. (T,) -> (T,)."""
    out = np.zeros_like(t)
    for low, high in ((0.15, 0.5), (0.5, 1.3)):
        out += rng.normal() * np.sin(TAU * (rng.uniform(low, high) * t + rng.random()))
    return 0.7 * size * out


def cycle(t: Array, rng: RNG, period: float) -> Array:
    """Phase (rad) of a repeated movement: random start, tempo that drifts by a few percent. (T,) -> (T,)."""
    drift = wobble(t, rng, 0.02) * period
    return TAU * ((t + drift) / period + rng.random())


def vary(rng: RNG, value: float, spread: float = 0.15) -> float:
    """`value` times a random factor near 1."""
    return value * float(np.exp(np.clip(rng.normal(0.0, spread), -2 * spread, 2 * spread)))


# ---------------------------------------------------------------------------------------------------------------------
# Body and pose
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Body:
    """Sizes (body heights) and colours (RGB 0..255) of one figure."""

    size: float
    torso: float
    upper_arm: float
    forearm: float
    thigh: float
    shin: float
    head: float
    shoulder: float
    hip: float
    girth: float
    colors: dict[str, tuple[int, int, int]]
    stripes: int
    hair_back: float


@dataclasses.dataclass
class Pose:
    """Angles in degrees, each (T,). Index 0 is the left side, 1 the right side; shape (2, T).

    Angles of limbs are against the vertical, not against the parent limb, so a trunk that leans does not drag the
    arms along; only `knee` and `elbow` are relative. `air` is the height of the lower foot above the ground.
    """

    lean: Array
    tilt: Array
    twist: Array
    nod: Array
    hip: Array
    spread: Array
    knee: Array
    arm: Array
    lift: Array
    elbow: Array
    fold: Array
    air: Array
    x: Array
    y: Array
    yaw: Array
    reach: list[Array | None]
    reach_weight: list[Array]


def random_color(rng: RNG) -> tuple[int, int, int]:
    """A cloth colour: dark, gray and blue are commoner than bright ones."""
    value = rng.choice([rng.uniform(15, 70), rng.uniform(60, 150), rng.uniform(150, 235)], p=[0.45, 0.3, 0.25])
    tint = rng.normal(0, rng.choice([0.06, 0.25], p=[0.65, 0.35]), 3)
    if rng.random() < 0.25:
        tint += np.array([-0.15, -0.02, 0.22])  # jeans
    red, green, blue = (int(v) for v in np.clip(value * (1 + tint), 5, 245))
    return red, green, blue


def shade(color: tuple[int, int, int], gain: float) -> tuple[int, int, int]:
    """`color` made lighter or darker."""
    red, green, blue = (int(min(max(c * gain, 0), 255)) for c in color)
    return red, green, blue


def random_body(rng: RNG) -> Body:
    """One person: proportions vary by a few percent, build and clothes vary a lot."""
    tone = rng.uniform(0.35, 1.0)
    skin = tuple(int(v) for v in np.array([232, 188, 160]) * tone + rng.normal(0, 4, 3))
    shirt, trousers = random_color(rng), random_color(rng)
    hair = tuple(int(v) for v in np.clip(rng.choice([25, 45, 90], p=[0.5, 0.35, 0.15]) + rng.normal(0, 8, 3), 0, 255))
    shoes = random_color(rng)
    colors = {
        "skin": skin,
        "hair": hair,
        "shirt": shirt,
        "trousers": trousers if rng.random() < 0.85 else shirt,
        "shoes": shoes,
        "sleeve": shirt if rng.random() < 0.55 else skin,
        "shin": trousers if rng.random() < 0.9 else skin,
        "stripe": shade(random_color(rng), 1.0),
    }
    girth = rng.uniform(0.8, 1.25)
    return Body(
        size=rng.uniform(0.93, 1.07),
        torso=vary(rng, 0.30, 0.05),
        upper_arm=vary(rng, 0.165, 0.05),
        forearm=vary(rng, 0.145, 0.05),
        thigh=vary(rng, 0.245, 0.04),
        shin=vary(rng, 0.235, 0.04),
        head=vary(rng, 0.062, 0.08),
        shoulder=vary(rng, 0.108, 0.08),
        hip=vary(rng, 0.055, 0.1),
        girth=girth,
        colors=colors,
        stripes=int(rng.integers(2, 6)) if rng.random() < 0.2 else 0,
        hair_back=rng.uniform(0.25, 0.6),
    )


def rest(t: Array, rng: RNG) -> Pose:
    """Standing at ease at the origin, facing +x, with a little sway."""
    count = len(t)

    def flat(value: float, sway: float) -> Array:
        return value + wobble(t, rng, sway)

    def pair(value: float, differ: float, sway: float) -> Array:
        return np.stack([flat(value + rng.normal(0, differ), sway) for _ in range(2)])

    return Pose(
        lean=flat(rng.normal(2, 2), 1.0),
        tilt=flat(0, 0.8),
        twist=flat(0, 2.0),
        nod=flat(rng.normal(5, 5), 3.0),
        hip=pair(0, 2.5, 0.5),
        spread=pair(rng.uniform(2, 6), 1.0, 0.3),
        knee=pair(4, 1.5, 0.5),
        arm=pair(0, 4, 1.5),
        lift=pair(rng.uniform(4, 12), 2, 1.5),
        elbow=pair(rng.uniform(8, 25), 4, 2.0),
        fold=pair(-3, 3, 1.0),
        air=np.zeros(count),
        x=np.zeros(count),
        y=np.zeros(count),
        yaw=flat(0, 1.5),
        reach=[None, None],
        reach_weight=[np.zeros(count), np.zeros(count)],
    )


def stepping(pose: Pose, t: Array, rng: RNG, swing: float = 24.0) -> None:
    """Adds the leg movement (and a little arm swing) that carries the feet along `pose.x`, forwards or backwards."""
    speed = np.gradient(pose.x, t)
    facing = np.cos(np.radians(pose.yaw))
    stride = vary(rng, 0.75, 0.1)
    phase = TAU * (np.cumsum(speed * facing) * (t[1] - t[0]) / stride + rng.random())
    gate = np.clip(np.abs(speed) / 0.45, 0, 1)
    arm_gate = 0.6 * gate
    for side in range(2):
        angle = phase + np.pi * side
        pose.hip[side] += gate * swing * np.sin(angle)
        pose.knee[side] += gate * 42 * np.clip(np.cos(angle + 0.4), 0, None) ** 1.5
        pose.arm[side] -= arm_gate * 20 * np.sin(angle)


# ---------------------------------------------------------------------------------------------------------------------
# Single-person movements: each changes the pose in place. Travel is +x at first; the view may mirror it.
# ---------------------------------------------------------------------------------------------------------------------

FACE_CAMERA = -90.0  # yaw of a figure that looks at the camera


def travel(pose: Pose, t: Array, speed: float) -> None:
    """Steady progress along +x, in body heights per second, centred on the middle of the clip."""
    pose.x += speed * (t - t.mean())


def walk(pose: Pose, t: Array, rng: RNG) -> None:
    """Legs in antiphase, each arm against the leg of its side."""
    period = vary(rng, 1.05, 0.12)
    swing = vary(rng, 25, 0.12)
    phase = cycle(t, rng, period)
    arms, elbow = vary(rng, 22, 0.35), rng.uniform(5, 30)
    for side in range(2):
        angle = phase + np.pi * side
        pose.hip[side] += 3 + swing * np.sin(angle)
        pose.knee[side] += 52 * np.clip(np.cos(angle + 0.45), 0, None) ** 1.5
        pose.arm[side] -= arms * np.sin(angle)
        pose.elbow[side] += elbow * (0.6 - 0.4 * np.sin(angle))
    pose.twist += 5 * np.sin(phase)
    travel(pose, t, 4 * 0.48 * np.sin(np.radians(swing)) / period * rng.uniform(0.9, 1.1))


def run(pose: Pose, t: Array, rng: RNG) -> None:
    """As walking, but faster, with a flight phase, bent arms and heels that fly up."""
    period = vary(rng, 0.70, 0.1)
    swing = vary(rng, 35, 0.12)
    phase = cycle(t, rng, period)
    elbow, arms, kick = rng.uniform(60, 105), vary(rng, 35, 0.25), vary(rng, 85, 0.15)
    for side in range(2):
        angle = phase + np.pi * side
        pose.hip[side] += 6 + swing * np.sin(angle)
        pose.knee[side] += 12 + kick * np.clip(np.cos(angle + 0.75), 0, None) ** 1.2
        pose.arm[side] += -8 - arms * np.sin(angle)
        pose.elbow[side] = elbow - 12 * np.sin(angle) + wobble(t, rng, 3)
    pose.lean += rng.uniform(4, 14)
    pose.twist += 8 * np.sin(phase)
    pose.air += vary(rng, 0.045, 0.3) * np.clip(-np.cos(2 * phase), 0, None)
    travel(pose, t, vary(rng, 1.7, 0.15))


def hop_cycle(phase: Array, contact: float) -> tuple[Array, Array, Array]:
    """One hop per turn of `phase`: crouch depth 0..1, height 0..1, and sweep +1 (feet ahead) .. -1 (behind)."""
    u = np.mod(phase / TAU, 1.0)
    down = np.clip(u / contact, 0, 1)
    flight = np.clip((u - contact) / (1 - contact), 0, 1)
    crouch = np.sin(np.pi * down)
    height = 4 * flight * (1 - flight)
    sweep = np.where(u < contact, np.cos(np.pi * down), -np.cos(np.pi * flight))
    return crouch, height, sweep


def jump(pose: Pose, t: Array, rng: RNG) -> None:
    """Hops forward on both legs: crouch, push off, feet together in the air, land with feet ahead."""
    phase = cycle(t, rng, vary(rng, 0.62, 0.1))
    crouch, height, sweep = hop_cycle(phase, rng.uniform(0.4, 0.55))
    depth, swing = vary(rng, 1.0, 0.25), vary(rng, 17, 0.2)
    arms = rng.uniform(0, 35)
    for side in range(2):
        pose.hip[side] += 6 + swing * sweep + 22 * depth * crouch
        pose.knee[side] += 12 + 48 * depth * crouch + 14 * height
        pose.arm[side] += -arms * sweep - 8 * crouch
        pose.elbow[side] += rng.uniform(0, 35)
    pose.lean += 6 + 14 * depth * crouch
    pose.air += vary(rng, 0.10, 0.25) * height
    travel(pose, t, vary(rng, 0.95, 0.15))
    pose.x += 0.03 * np.sin(phase - np.pi * 0.5)  # faster in the air than on the ground


def pjump(pose: Pose, t: Array, rng: RNG) -> None:
    """Jumps on the spot on both legs, seen from the front, arms near the body."""
    phase = cycle(t, rng, vary(rng, 0.63, 0.13))
    crouch, height, _ = hop_cycle(phase, rng.uniform(0.42, 0.58))
    depth = vary(rng, 1.0, 0.25)
    flap = rng.uniform(0, 14)
    for side in range(2):
        pose.hip[side] += 25 * depth * crouch
        pose.knee[side] += 52 * depth * crouch
        pose.lift[side] += flap * height
        pose.elbow[side] += 12 * crouch
        pose.spread[side] *= 0.5
    pose.lean += 10 * depth * crouch
    pose.air += vary(rng, 0.13, 0.25) * height
    pose.yaw += FACE_CAMERA + rng.normal(0, 8)


def skip(pose: Pose, t: Array, rng: RNG) -> None:
    """Hops forward on one leg; the other stays bent behind and swings for balance."""
    phase = cycle(t, rng, vary(rng, 0.62, 0.1))
    crouch, height, sweep = hop_cycle(phase, rng.uniform(0.4, 0.55))
    support = int(rng.integers(2))
    free = 1 - support
    depth = vary(rng, 1.0, 0.2)
    pose.hip[support] += 5 + vary(rng, 17, 0.2) * sweep + 15 * depth * crouch
    pose.knee[support] += 12 + 34 * depth * crouch + 15 * height
    pose.hip[free] += rng.uniform(0, 22) - rng.uniform(8, 22) * sweep
    pose.knee[free] += rng.uniform(65, 100) + 12 * crouch
    arms, elbow = rng.uniform(8, 28), rng.uniform(30, 95)
    for side in range(2):
        sign = 1 if rng.random() < 0.7 else -1
        pose.arm[side] += -sign * arms * sweep
        pose.elbow[side] += elbow * rng.uniform(0.8, 1.1)
    pose.lean += 4 + 8 * depth * crouch
    pose.air += vary(rng, 0.085, 0.25) * height
    travel(pose, t, vary(rng, 0.98, 0.15))
    pose.x += 0.025 * np.sin(phase - np.pi * 0.5)


def side_gallop(pose: Pose, t: Array, rng: RNG) -> None:
    """Faces the camera and gallops sideways: the leading leg opens, the trailing one closes up with a small hop."""
    phase = cycle(t, rng, vary(rng, 0.58, 0.1))
    width = vary(rng, 25, 0.15)
    lead, trail = 0, 1  # facing the camera, the left leg is the one on the +x side
    pose.spread[lead] += width * (0.5 - 0.5 * np.cos(phase))
    pose.spread[trail] += width * (0.5 - 0.5 * np.cos(phase - rng.uniform(0.5, 1.1)))
    closing = np.clip(np.cos(phase - 0.4), 0, None)
    for leg in range(2):
        pose.knee[leg] += 10 + 12 * np.clip(np.sin(phase), 0, None)
        pose.hip[leg] += 5
        pose.lift[leg] += rng.uniform(0, 14) + rng.uniform(0, 8) * closing
        pose.elbow[leg] += rng.uniform(0, 30)
    pose.air += vary(rng, 0.045, 0.3) * closing
    pose.yaw += FACE_CAMERA + rng.uniform(-5, 30)
    travel(pose, t, vary(rng, 1.1, 0.15))


def jack(pose: Pose, t: Array, rng: RNG) -> None:
    """Jumping jack: arms go up sideways while the legs open, and both come back."""
    phase = cycle(t, rng, vary(rng, 1.0, 0.13))
    opened = 0.5 - 0.5 * np.cos(phase)
    top, legs = rng.uniform(150, 178), vary(rng, 21, 0.2)
    for side in range(2):
        pose.lift[side] += (top - 8) * opened + wobble(t, rng, 3)
        pose.fold[side] += rng.uniform(-5, 20) * opened
        pose.elbow[side] *= 1 - opened
        pose.spread[side] += -2 + legs * opened
        pose.knee[side] += 14 * np.abs(np.cos(phase)) ** 3
        pose.hip[side] += 7 * np.abs(np.cos(phase)) ** 3
        pose.arm[side] *= 0.5
    pose.air += vary(rng, 0.07, 0.3) * np.abs(np.sin(phase))  # airborne while the legs move, either way
    pose.yaw += FACE_CAMERA + rng.normal(0, 8)


def wave_arm(pose: Pose, t: Array, rng: RNG, side: int, swing: Array, low: float, high: float) -> None:
    """Swings one straight or slightly bent arm sideways between two heights (degrees); `swing` is 0..1, (T,)."""
    pose.lift[side] = low + (high - low) * swing + wobble(t, rng, 2)
    pose.fold[side] = rng.uniform(-5, 15) + rng.uniform(0, 30) * swing
    pose.elbow[side] *= 0.2
    pose.arm[side] *= 0.5


def wave_swing(t: Array, rng: RNG) -> Array:
    """Up and down at the tempo of a big wave, 0..1."""
    return 0.5 - 0.5 * np.cos(cycle(t, rng, vary(rng, 0.95, 0.2)))


def wave1(pose: Pose, t: Array, rng: RNG) -> None:
    """One arm waves between the horizontal and overhead; the rest of the body stands."""
    side = int(rng.integers(2))
    wave_arm(pose, t, rng, side, wave_swing(t, rng), rng.uniform(70, 105), rng.uniform(145, 178))
    pose.yaw += FACE_CAMERA + rng.normal(0, 10)


def wave2(pose: Pose, t: Array, rng: RNG) -> None:
    """Both arms wave together, mirror-wise."""
    swing = wave_swing(t, rng)
    low, high = rng.uniform(60, 100), rng.uniform(145, 178)
    for side in range(2):
        wave_arm(pose, t, rng, side, swing, low + rng.normal(0, 4), high + rng.normal(0, 4))
    pose.yaw += FACE_CAMERA + rng.normal(0, 8)


def bend(pose: Pose, t: Array, rng: RNG) -> None:
    """Bends at the hip, seen from the side, reaches for the ground with both arms and stands up again."""
    down, hold, up = vary(rng, 1.05, 0.2), rng.uniform(0.0, 0.4), vary(rng, 1.05, 0.2)
    whole = down + hold + up
    # Anything from the start of going down to the end of coming up may be cut off, but never most of it.
    start = t.mean() - whole * rng.uniform(0.25, 0.75)
    bent = pulse(t, start, down, hold, up)
    if rng.random() < 0.3:
        bent = np.maximum(bent, pulse(t, start + whole + 0.2, down, hold, up))
    depth = rng.uniform(80, 115)
    for side in range(2):
        pose.arm[side] += rng.uniform(10, 45) * bent
        pose.elbow[side] *= 1 - 0.6 * bent
        pose.hip[side] -= rng.uniform(6, 14) * bent  # the seat moves back to keep the balance
        pose.knee[side] += rng.uniform(0, 18) * bent
    pose.lean += depth * bent
    pose.nod += rng.uniform(-10, 25) * bent


# ---------------------------------------------------------------------------------------------------------------------
# Two-person movements: `one` stands on the left facing +x, `two` on the right facing -x.
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Duel:
    """Two poses and what they share: time (T,), tempo (>1 is faster), the moment of contact (s)."""

    one: Pose
    two: Pose
    t: Array
    rng: RNG
    tempo: float
    contact: float

    def sec(self, value: float, spread: float = 0.15) -> float:
        """A duration at this couple's tempo, with its own variation."""
        return vary(self.rng, value, spread) / self.tempo


def new_duel(t: Array, rng: RNG, window: tuple[float, float]) -> Duel:
    """Two people at rest, one foot a little ahead; the contact lies in `window` (parts of the clip's length)."""
    one, two = rest(t, rng), rest(t, rng)
    two.yaw += 180.0
    for pose in (one, two):
        pose.hip += rng.uniform(-9, 9) * np.array([[1.0], [-1.0]])
    contact = t[0] + (t[-1] - t[0]) * rng.uniform(*window)
    return Duel(one, two, t, rng, vary(rng, 1.0, 0.2), contact)


def approach(duel: Duel, far: float, near: float, end: float, length: float, share: float) -> None:
    """Closes the distance from `far` to `near` (body heights); the left one walks `share` of the way."""
    closing = (far - near) * ramp(duel.t, end - length, length)
    duel.one.x += -far / 2 + share * closing
    duel.two.x += far / 2 - (1 - share) * closing


def part(duel: Duel, start: float, length: float, distance: float) -> None:
    """Both step back after the contact."""
    back = distance / 2 * ramp(duel.t, start, length)
    duel.one.x -= back
    duel.two.x += back


def lunge(pose: Pose, leg: int, size: float, weight: Array) -> None:
    """Puts `leg` forward and the other back by `size` degrees, front knee bent; `weight` (T,) is 0..1."""
    pose.hip[leg] += size * weight
    pose.knee[leg] += 0.8 * size * weight
    pose.hip[1 - leg] -= size * weight


def step_both(duel: Duel) -> None:
    """Moves the legs along with whatever `x` does; call it after every displacement is in."""
    for pose in (duel.one, duel.two):
        stepping(pose, duel.t, duel.rng)


def point_at(x: Array, y: Array | float, z: Array | float) -> Array:
    """(T, 3) target from scene coordinates."""
    return np.stack([x, np.broadcast_to(y, x.shape), np.broadcast_to(z, x.shape)], axis=1)


def set_reach(pose: Pose, side: int, target: Array, weight: Array) -> None:
    """Asks that the hand of `side` be at `target` (T, 3), with `weight` (T,) from 0 to 1."""
    pose.reach[side] = target
    pose.reach_weight[side] = weight


def handshaking(duel: Duel) -> None:
    """Both step up, reach with the right arm, pump a few times, let go and step back."""
    rng, t = duel.rng, duel.t
    hold, walk_time = duel.sec(1.3, 0.35), duel.sec(0.9)
    near = rng.uniform(0.48, 0.68)
    approach(duel, near + rng.uniform(0.1, 0.7), near, duel.contact, walk_time, rng.uniform(0.2, 0.8))
    part(duel, duel.contact + hold + 0.2, duel.sec(0.9), rng.uniform(0.0, 0.5))
    step_both(duel)
    rise = duel.sec(0.5)
    grip = pulse(t, duel.contact - rise, rise, hold, duel.sec(0.45))
    shaking = pulse(t, duel.contact, 0.1, hold - 0.2, 0.1)
    pump = rng.uniform(0.02, 0.05) * shaking * np.sin(TAU * rng.uniform(2.0, 3.6) * (t - duel.contact))
    middle = point_at((duel.one.x + duel.two.x) / 2, 0.0, rng.uniform(0.52, 0.66) + pump)
    for pose in (duel.one, duel.two):
        late = rng.uniform(0, 0.25) / duel.tempo
        weight = np.minimum(grip, ramp(t, duel.contact - rise + late, rise)) if late else grip
        set_reach(pose, 1, middle, weight)
        pose.lean += rng.uniform(0, 14) * grip
        pose.nod += rng.uniform(0, 10) * grip


def hugging(duel: Duel) -> None:
    """Both walk up with lifted arms, wrap them round each other, stay, and part again."""
    rng, t = duel.rng, duel.t
    hold, walk_time = duel.sec(1.5, 0.35), duel.sec(1.0)
    near = rng.uniform(0.15, 0.22)
    approach(duel, rng.uniform(0.65, 1.25), near, duel.contact, walk_time, rng.uniform(0.25, 0.75))
    part(duel, duel.contact + hold, duel.sec(0.9), rng.uniform(0.3, 0.8))
    step_both(duel)
    rise = duel.sec(0.6)
    wrap = pulse(t, duel.contact - rise * 0.8, rise, hold, duel.sec(0.5))
    over = rng.random() < 0.5
    for pose, other, sign in ((duel.one, duel.two, 1.0), (duel.two, duel.one, -1.0)):
        height = 0.79 if over == (sign > 0) else 0.66
        for side in range(2):
            lateral = sign * (0.09 if side == 0 else -0.09)
            target = point_at(other.x + sign * 0.07, lateral, height + rng.normal(0, 0.03) + 0.04 * (1 - side))
            # One arm may go over the shoulder while the other goes round the waist.
            set_reach(pose, side, target, wrap)
        pose.lean += rng.uniform(3, 12) * wrap
        pose.nod += rng.uniform(5, 20) * wrap
        pose.tilt += sign * rng.uniform(2, 7) * wrap
        pose.lift += rng.uniform(10, 25) * pulse(t, duel.contact - rise, rise * 0.5, 0, rise * 0.5)
    # Heads pass on different sides instead of going through each other.
    duel.one.y -= 0.04 * wrap
    duel.two.y += 0.04 * wrap


def recoil(duel: Duel, pose: Pose, start: float, lean: float, retreat: float, rise: float) -> None:
    """The struck one leans away, throws the arms a little and steps back (pose faces -x or +x by its yaw)."""
    rng, t = duel.rng, duel.t
    hit = pulse(t, start, rise, rng.uniform(0.05, 0.3), duel.sec(0.6, 0.3))
    away = np.sign(-np.cos(np.radians(np.median(pose.yaw))))
    pose.x += away * retreat * ramp(t, start, duel.sec(0.45 + 0.5 * retreat))
    pose.lean -= lean * hit
    pose.nod -= rng.uniform(0, 25) * hit
    lunge(pose, int(rng.integers(2)), rng.uniform(0, 22), hit)
    for side in range(2):
        pose.arm[side] += rng.uniform(0, 45) * hit
        pose.elbow[side] += rng.uniform(0, 55) * hit
        pose.lift[side] += rng.uniform(0, 20) * hit


def kicking(duel: Duel) -> None:
    """One swings a leg up at the other, who recoils."""
    rng, t = duel.rng, duel.t
    near = rng.uniform(0.45, 0.62)
    approach(
        duel, near + rng.uniform(0.0, 0.5), near, duel.contact - duel.sec(0.15), duel.sec(0.7), rng.uniform(0.6, 1)
    )
    recoil(duel, duel.two, duel.contact - 0.03, rng.uniform(-25, 20), rng.uniform(0.02, 0.4), duel.sec(0.18))
    duel.one.x -= rng.uniform(0.0, 0.25) * ramp(t, duel.contact + duel.sec(0.4), duel.sec(0.5))
    step_both(duel)
    leg = int(rng.integers(2))
    rise, fall, hold = duel.sec(0.34), duel.sec(0.5), rng.uniform(0.0, 0.35)
    back = pulse(t, duel.contact - rise - duel.sec(0.3), duel.sec(0.22), 0.0, rise * 0.7)
    up = pulse(t, duel.contact - rise, rise, hold, fall)
    # The knee leads: it is bent while the thigh rises and opens at the moment of contact.
    chamber = pulse(t, duel.contact - rise, rise * 0.6, 0.0, rise * 0.5)
    kicker, height = duel.one, rng.uniform(60, 102)
    kicker.hip[leg] = (1 - up) * kicker.hip[leg] - 22 * back + height * up
    kicker.knee[leg] = (1 - up) * kicker.knee[leg] + 40 * back + 65 * chamber + rng.uniform(0, 20) * up
    kicker.hip[1 - leg] *= 1 - up
    kicker.knee[1 - leg] = (1 - up) * kicker.knee[1 - leg] + rng.uniform(5, 20) * up
    kicker.lean += -rng.uniform(5, 28) * up + 6 * back
    for side in range(2):
        kicker.arm[side] += rng.uniform(-35, 45) * up
        kicker.elbow[side] += rng.uniform(0, 60) * up
        kicker.lift[side] += rng.uniform(0, 35) * up


def pointing(duel: Duel) -> None:
    """One lifts a straight arm, holds it towards something and lowers it; the other only stands, if there at all."""
    rng, t = duel.rng, duel.t
    apart = rng.uniform(0.75, 1.3)
    duel.one.x -= apart / 2
    duel.two.x += apart / 2
    rise, hold, fall = duel.sec(0.45), duel.sec(1.3, 0.35), duel.sec(0.5)
    shown = pulse(t, duel.contact - rise - rng.uniform(0.0, 0.4), rise, hold, fall)
    side = int(rng.integers(2))
    pointer = duel.one
    lifted = rng.uniform(78, 102) + wobble(t, rng, 2)
    pointer.arm[side] = (1 - shown) * pointer.arm[side] + lifted * shown
    # The arm rises through a bent elbow and is straight when it arrives.
    pointer.elbow[side] = pointer.elbow[side] * (1 - shown) + rng.uniform(10, 70) * shown * (1 - shown) * 2
    pointer.lift[side] = pointer.lift[side] * (1 - shown) + rng.uniform(-12, 18) * shown
    pointer.fold[side] *= 1 - shown
    pointer.lean += rng.uniform(-6, 6) * shown
    pointer.twist += (1 if side else -1) * rng.uniform(0, 20) * shown
    pointer.nod -= rng.uniform(0, 6) * shown
    if rng.random() < 0.3:
        pointer.x += rng.uniform(-0.12, 0.15) * ramp(t, duel.contact - rise, 0.6)
        stepping(pointer, t, rng)


def punching(duel: Duel) -> None:
    """One draws a fist back and jabs it at the other's head; the head and trunk go back."""
    rng, t = duel.rng, duel.t
    near = rng.uniform(0.40, 0.55)
    approach(
        duel,
        near + rng.uniform(0.05, 0.5),
        near,
        duel.contact - 0.05,
        duel.sec(rng.uniform(0.4, 0.9)),
        rng.uniform(0.7, 1),
    )
    recoil(duel, duel.two, duel.contact - 0.03, rng.uniform(8, 45), rng.uniform(0.0, 0.35), duel.sec(0.18))
    duel.one.x -= rng.uniform(0.0, 0.25) * ramp(t, duel.contact + duel.sec(0.4), duel.sec(0.6))
    step_both(duel)
    side = int(rng.integers(2))
    jab, fall = duel.sec(0.16), duel.sec(0.4)
    draw = pulse(t, duel.contact - jab - duel.sec(0.4), duel.sec(0.35), 0.0, jab)
    strike = pulse(t, duel.contact - jab, jab, rng.uniform(0.0, 0.12), fall)
    hitter = duel.one
    hitter.arm[side] -= rng.uniform(10, 60) * draw
    hitter.elbow[side] += rng.uniform(70, 120) * draw
    hitter.lift[side] += rng.uniform(0, 30) * draw
    hitter.arm[1 - side] += rng.uniform(0, 40) * np.maximum(draw, strike)
    hitter.elbow[1 - side] += rng.uniform(0, 90) * np.maximum(draw, strike)
    hitter.lean += rng.uniform(4, 32) * strike - 6 * draw
    stance = pulse(t, duel.contact - jab - duel.sec(0.3), duel.sec(0.4), duel.sec(0.4, 0.5), duel.sec(0.6))
    lunge(hitter, int(rng.integers(2)), rng.uniform(8, 34), stance)
    hitter.twist += (1 if side else -1) * 25 * (strike - 0.6 * draw)
    head = point_at(np.where(t < duel.contact, duel.two.x, duel.one.x + near) - 0.04, 0.0, rng.uniform(0.76, 0.92))
    set_reach(hitter, side, head, strike)


def pushing(duel: Duel) -> None:
    """One puts both hands forward, leans in and shoves; the other is driven back some steps."""
    rng, t = duel.rng, duel.t
    near = rng.uniform(0.38, 0.5)
    approach(
        duel, near + rng.uniform(0.1, 0.6), near, duel.contact, duel.sec(rng.uniform(0.5, 0.9)), rng.uniform(0.75, 1)
    )
    retreat = rng.uniform(0.3, 0.8)
    recoil(duel, duel.two, duel.contact + 0.05, rng.uniform(0, 25), retreat, duel.sec(0.25))
    follow = rng.uniform(0.05, 0.3) * min(retreat * 2, 1)
    duel.one.x += follow * ramp(t, duel.contact, duel.sec(0.45))
    step_both(duel)
    rise, shove, fall = duel.sec(0.4), duel.sec(0.3), duel.sec(0.5)
    weight = pulse(t, duel.contact - rise, rise, shove, fall)
    extend = ramp(t, duel.contact - 0.05, shove)
    pusher = duel.one
    height = rng.uniform(0.62, 0.80)
    length = near - 0.07 + (rng.uniform(0.0, 0.08) + 0.02) * extend
    for side in range(2):
        lateral = 0.08 if side == 0 else -0.08
        set_reach(pusher, side, point_at(pusher.x + length, lateral, height + rng.normal(0, 0.02)), weight)
    effort = pulse(t, duel.contact - 0.15, 0.3, shove, fall)
    pusher.lean += rng.uniform(6, 26) * effort
    lunge(pusher, int(rng.integers(2)), rng.uniform(8, 32), effort)


# A blow is over at once and must lie inside the clip; a grip, a hug or a pointing arm lasts and may have begun before.
BRIEF = frozenset({"kicking", "punching", "pushing"})
BRIEF_CONTACT = (0.25, 0.8)
LONG_CONTACT = (0.0, 0.7)

SOLO_MOVES: dict[str, Callable[[Pose, Array, RNG], None]] = {
    "bend": bend,
    "jack": jack,
    "jump": jump,
    "pjump": pjump,
    "run": run,
    "side": side_gallop,
    "skip": skip,
    "walk": walk,
    "wave1": wave1,
    "wave2": wave2,
}
PAIR_MOVES: dict[str, Callable[[Duel], None]] = {
    "handshaking": handshaking,
    "hugging": hugging,
    "kicking": kicking,
    "pointing": pointing,
    "punching": punching,
    "pushing": pushing,
}


# ---------------------------------------------------------------------------------------------------------------------
# Skeleton
# ---------------------------------------------------------------------------------------------------------------------


def limb(flex: Array, abduct: Array, side: int) -> Array:
    """Unit vector of a limb that hangs down, then turns forward by `flex` and outward by `abduct` degrees: (T, 3)."""
    f, a = np.radians(flex), np.radians(abduct)
    out = 1.0 if side == 0 else -1.0
    return np.stack([np.sin(f) * np.cos(a), out * np.sin(a), -np.cos(f) * np.cos(a)], axis=1)


def bent_joint(start: Array, end: Array, first: float, second: float) -> tuple[Array, Array]:
    """Two-link inverse kinematics: elbow (T, 3) and the reachable hand (T, 3), with the elbow hanging down."""
    gap = end - start
    distance = np.linalg.norm(gap, axis=1, keepdims=True) + 1e-6
    axis = gap / distance
    distance = np.clip(distance, abs(first - second) + 1e-3, (first + second) * 0.995)
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    off = np.sqrt(np.clip(first**2 - along**2, 0, None))
    down = np.array([0.0, 0.0, -1.0]) - axis * (-axis[:, 2:3])
    down /= np.linalg.norm(down, axis=1, keepdims=True) + 1e-6
    return start + axis * along + down * off, start + axis * distance


def legs(body: Body, pose: Pose, joints: dict[str, Array]) -> None:
    """Adds hip, knee, ankle and toe of both sides, relative to the pelvis."""
    zeros = np.zeros_like(pose.lean)
    for side, name in enumerate("lr"):
        out = body.hip if side == 0 else -body.hip
        hip = np.stack([zeros, zeros + out, zeros], axis=1)
        knee = hip + body.thigh * limb(pose.hip[side], pose.spread[side], side)
        shin = pose.hip[side] - pose.knee[side]
        ankle = knee + body.shin * limb(shin, pose.spread[side], side)
        toe = ankle + 0.095 * limb(88 + 0.6 * np.minimum(shin, 20), 6 + 0 * shin, side)
        joints |= {f"hip_{name}": hip, f"knee_{name}": knee, f"ankle_{name}": ankle, f"toe_{name}": toe}


def trunk(body: Body, pose: Pose, joints: dict[str, Array]) -> None:
    """Adds pelvis, chest, shoulders and head, relative to the pelvis."""
    lean, tilt, twist = np.radians(pose.lean), np.radians(pose.tilt), np.radians(pose.twist)
    up = np.stack([np.sin(lean) * np.cos(tilt), np.sin(tilt), np.cos(lean) * np.cos(tilt)], axis=1)
    nod = lean * 0.75 + np.radians(pose.nod)
    head_up = np.stack([np.sin(nod), np.sin(tilt), np.cos(nod)], axis=1)
    head_front = np.stack([np.cos(nod), 0 * nod, -np.sin(nod)], axis=1)
    chest = body.torso * up
    head = chest + 0.05 * up + head_up * (body.head + 0.02)
    joints |= {
        "pelvis": np.zeros_like(up),
        "chest": chest,
        "neck": chest + 0.045 * up,
        "chin": head - 0.022 * head_up + 0.018 * head_front,
        "brow": head + 0.012 * head_up + 0.014 * head_front,
        "hair": head + 0.022 * head_up - body.hair_back * 0.05 * head_front,
        "nape": head - 0.004 * head_up - body.hair_back * 0.08 * head_front,
    }
    across = np.stack([-np.sin(twist), np.cos(twist), 0 * twist], axis=1) * body.shoulder
    joints["shoulder_l"], joints["shoulder_r"] = chest - 0.025 * up + across, chest - 0.025 * up - across


def arms(body: Body, pose: Pose, joints: dict[str, Array]) -> None:
    """Adds elbow and hand of both sides."""
    for side, name in enumerate("lr"):
        elbow = joints[f"shoulder_{name}"] + body.upper_arm * limb(pose.arm[side], pose.lift[side], side)
        fore = limb(pose.arm[side] + pose.elbow[side], pose.lift[side] + pose.fold[side], side)
        joints[f"elbow_{name}"] = elbow
        joints[f"hand_{name}"] = elbow + body.forearm * fore


def skeleton(body: Body, pose: Pose) -> dict[str, Array]:
    """Joint positions in scene coordinates, name -> (T, 3), in body heights."""
    joints: dict[str, Array] = {}
    legs(body, pose, joints)
    trunk(body, pose, joints)
    arms(body, pose, joints)
    feet = np.min([joints[k][:, 2] for k in ("ankle_l", "ankle_r", "toe_l", "toe_r")], axis=0)
    yaw = np.radians(pose.yaw)
    cos, sin = np.cos(yaw), np.sin(yaw)
    for name, p in joints.items():
        # The lower foot always stands on the ground (or `air` above it): crouching and gait bob follow by themselves.
        z = (p[:, 2] - feet) * body.size + 0.025 + pose.air
        x = (p[:, 0] * cos - p[:, 1] * sin) * body.size + pose.x
        joints[name] = np.stack([x, (p[:, 0] * sin + p[:, 1] * cos) * body.size + pose.y, z], axis=1)
    for side, name in enumerate("lr"):
        target = pose.reach[side]
        if target is not None:
            reach_for(body, joints, name, target, pose.reach_weight[side][:, None])
    return joints


def reach_for(body: Body, joints: dict[str, Array], name: str, target: Array, weight: Array) -> None:
    """Moves elbow and hand of side `name` towards where they must be for the hand to be at `target`."""
    upper, fore = body.upper_arm * body.size, body.forearm * body.size
    elbow, hand = bent_joint(joints[f"shoulder_{name}"], target, upper, fore)
    joints[f"elbow_{name}"] = joints[f"elbow_{name}"] * (1 - weight) + elbow * weight
    joints[f"hand_{name}"] = joints[f"hand_{name}"] * (1 - weight) + hand * weight


# ---------------------------------------------------------------------------------------------------------------------
# From skeleton to polygons
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Camera:
    """Where a scene point lands: pixels of the supersampled canvas per body height, and the view."""

    scale: float
    x: Array
    ground: Array
    pitch: float
    perspective: float

    def project(self, p: Array) -> Array:
        """(T, 3) scene -> (T, 2) canvas pixels."""
        near = self.scale * (1 - self.perspective * p[:, 1])
        x = self.x + near * p[:, 0]
        y = self.ground - near * (p[:, 2] * np.cos(self.pitch) + p[:, 1] * np.sin(self.pitch))
        return np.stack([x, y], axis=1)


@dataclasses.dataclass
class Shape:
    """A filled polygon that moves: points (T, P, 2) pixels, depth (T,), RGB."""

    points: Array
    depth: Array
    color: tuple[int, ...]


def capsule(a: Array, b: Array, ra: Array | float, rb: Array | float, cap: float = 1.0) -> Array:
    """Outline of a limb from a to b (T, 2) with end radii in pixels; `cap` flattens the round ends: (T, 10, 2)."""
    axis = b - a
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = np.where(length > 0.3, axis / np.maximum(length, 1e-6), np.array([0.0, 1.0]))
    normal = axis[:, ::-1] * np.array([-1.0, 1.0])
    cos, sin = cap * np.cos(CAP_ANGLES)[:, None], np.sin(CAP_ANGLES)[:, None]
    ra, rb = np.reshape(ra, (-1, 1, 1)), np.reshape(rb, (-1, 1, 1))
    u, n = axis[:, None], normal[:, None]
    return np.concatenate([b[:, None] + rb * (cos * u + sin * n), a[:, None] - ra * (cos * u + sin * n)], axis=1)


# from, to, radius at each end (body heights), colour, how much nearer to the camera than its joints it counts
LIMBS = (
    ("hip", "knee", 0.052, 0.036, "trousers", 0.0),
    ("knee", "ankle", 0.037, 0.024, "shin", 0.0),
    ("ankle", "toe", 0.024, 0.016, "shoes", 0.01),
    ("shoulder", "elbow", 0.034, 0.027, "shirt", 0.02),
    ("elbow", "hand", 0.026, 0.019, "sleeve", 0.03),
)
TORSO_NEARER = 0.07  # the shirt hangs over the thighs


def figure_shapes(body: Body, joints: dict[str, Array], yaw: Array, camera: Camera, light: float) -> list[Shape]:
    """All parts of one figure as polygons; `light` is the gain of the side away from the camera (0..1)."""
    flat = {name: camera.project(p) for name, p in joints.items()}
    unit = camera.scale * body.size
    shapes = []

    def add(
        a: str, b: str, ra: Array | float, rb: Array | float, color: tuple, nearer: float, cap: float = 1.0
    ) -> None:
        depth = (joints[a][:, 1] + joints[b][:, 1]) / 2 - nearer
        shapes.append(Shape(capsule(flat[a], flat[b], ra, rb, cap), depth, color))

    view = np.radians(yaw)
    width = np.sqrt((np.sin(view) * (body.shoulder + 0.012)) ** 2 + (np.cos(view) * 0.072 * body.girth) ** 2)
    waist = np.sqrt((np.sin(view) * (body.hip + 0.038)) ** 2 + (np.cos(view) * 0.07 * body.girth) ** 2)
    add("chest", "pelvis", unit * width, unit * waist, body.colors["shirt"], TORSO_NEARER, 0.45)
    add_stripes(shapes, body, flat, joints, unit * width, unit * waist)
    add("chest", "neck", unit * 0.032, unit * 0.03, body.colors["skin"], TORSO_NEARER - 0.01)
    add("chin", "brow", unit * body.head * 0.78, unit * body.head * 0.95, body.colors["skin"], TORSO_NEARER + 0.01)
    add("hair", "nape", unit * body.head, unit * body.head * 0.8, body.colors["hair"], TORSO_NEARER + 0.012)
    for a, b, ra, rb, key, nearer in LIMBS:
        thick = unit * np.sqrt(body.girth)
        for name in "lr":
            # Limbs on the far side of the trunk get less light.
            far = np.median(joints[f"hip_{name}"][:, 1] - joints["pelvis"][:, 1]) > 0.03
            color = shade(body.colors[key], light if far else 1.0)
            add(f"{a}_{name}", f"{b}_{name}", thick * ra, thick * rb, color, nearer)
    for name in "lr":
        add(f"hand_{name}", f"hand_{name}", unit * 0.027, unit * 0.027, body.colors["skin"], 0.035)
    return shapes


def add_stripes(
    shapes: list[Shape], body: Body, flat: dict[str, Array], joints: dict[str, Array], width: Array, waist: Array
) -> None:
    """Horizontal stripes on the shirt."""
    for k in range(body.stripes):
        low, high = (k + 0.3) / body.stripes, (k + 0.7) / body.stripes
        a = flat["chest"] + (flat["pelvis"] - flat["chest"]) * low
        b = flat["chest"] + (flat["pelvis"] - flat["chest"]) * high
        outline = capsule(a, b, width + (waist - width) * low, width + (waist - width) * high, 0.0)
        depth = (joints["chest"][:, 1] + joints["pelvis"][:, 1]) / 2 - TORSO_NEARER - 0.001
        shapes.append(Shape(outline, depth, body.colors["stripe"]))


def cast_shadow(joints: dict[str, Array], camera: Camera, slant: tuple[float, float], alpha: int) -> list[Shape]:
    """Shadow on the ground: the skeleton slid along the light onto z = 0."""
    flat = {}
    for name, p in joints.items():
        ground = np.stack([p[:, 0] + slant[0] * p[:, 2], p[:, 1] + slant[1] * p[:, 2], 0 * p[:, 2]], axis=1)
        flat[name] = camera.project(ground)
    unit = camera.scale * max(np.sin(camera.pitch), 0.15)
    far = np.full(len(joints["chest"]), 1e3)  # under everything
    bones = [("pelvis", "chest", 0.09, 0.09), ("chin", "hair", 0.05, 0.05)]
    bones += [(f"{a}_{s}", f"{b}_{s}", ra, rb) for a, b, ra, rb, _, _ in LIMBS for s in "lr"]
    return [Shape(capsule(flat[a], flat[b], unit * ra, unit * rb), far, (0, 0, 0, alpha)) for a, b, ra, rb in bones]


# ---------------------------------------------------------------------------------------------------------------------
# Background
# ---------------------------------------------------------------------------------------------------------------------


def blotches(rng: RNG, height: int, width: int, cells: float) -> Array:
    """Smooth noise of about `cells` bumps from top to bottom, more or fewer across: (H, W, 1), unit variance."""
    stretch = np.exp(rng.normal(0, 0.5))  # streaks, planks and slabs rather than round clouds
    rows, cols = max(2, int(cells / stretch)), max(2, int(cells * stretch * width / height))
    small = Image.fromarray(rng.normal(size=(rows, cols)).astype(np.float32))
    kind = Image.Resampling.BICUBIC if rng.random() < 0.7 else Image.Resampling.NEAREST
    return np.asarray(small.resize((width, height), kind))[:, :, None]


def surface(rng: RNG, height: int, width: int) -> Array:
    """A wall, asphalt, grass or dirt: base colour, slow gradient, blotches and grain. (H, W, 3) float32."""
    kind = rng.choice(["gray", "tint", "grass"], p=[0.55, 0.25, 0.2])
    base = np.full(3, rng.uniform(55, 200)) + rng.normal(0, 6, 3)
    if kind == "tint":
        base = base * (1 + rng.normal(0, 0.09, 3))
    if kind == "grass":
        base = rng.uniform(0.6, 1.25) * np.array([100, 115, 78]) + rng.normal(0, 7, 3)
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    out = base + rng.normal(0, 10) * x + rng.normal(0, 10) * y
    out = out + rng.uniform(0, 6) * blotches(rng, height, width, rng.uniform(3, 8))
    out = out + rng.uniform(0, 8) * blotches(rng, height, width, rng.uniform(12, 30))
    grain = rng.uniform(1, 6) if kind != "grass" else rng.uniform(5, 16)
    return (out + grain * blotches(rng, height, width, rng.uniform(40, 70))).astype(np.float32)


def clutter(rng: RNG, draw: ImageDraw.ImageDraw, height: int, width: int) -> None:
    """Random boxes, slabs and ground markings: windows, cars, doors, parking lines."""
    for _ in range(rng.integers(0, 4) if rng.random() < 0.6 else 0):
        x, y = rng.uniform(-0.1, 1.0) * width, rng.uniform(-0.1, 0.9) * height
        box = [x, y, x + rng.uniform(0.04, 0.35) * width, y + rng.uniform(0.05, 0.4) * height]
        draw.rectangle(box, fill=random_color(rng))
    for _ in range(rng.integers(1, 4) if rng.random() < 0.4 else 0):
        x, y, angle = rng.uniform(0, 1) * width, rng.uniform(0, 1) * height, rng.uniform(0, np.pi)
        dx, dy = np.cos(angle) * width, np.sin(angle) * height
        value = int(rng.uniform(20, 230))
        draw.line([x - dx, y - dy, x + dx, y + dy], fill=(value, value, value), width=int(rng.integers(1, 4)))


def background(rng: RNG, height: int, width: int, horizon: float | None) -> Image.Image:
    """A still picture; below `horizon` (pixels from the top, or None for ground everywhere) the ground begins."""
    wall = surface(rng, height, width)
    if horizon is not None and horizon < height:
        edge = int(np.clip(horizon, 0, height))
        wall[edge:] = surface(rng, height, width)[edge:]
        if rng.random() < 0.5:
            wall[edge : edge + int(rng.integers(1, 4))] *= rng.uniform(0.4, 1.3)  # kerb or skirting
    picture = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
    clutter(rng, ImageDraw.Draw(picture), height, width)
    return picture


# ---------------------------------------------------------------------------------------------------------------------
# Scenes
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Actor:
    """A figure in the scene."""

    body: Body
    pose: Pose
    joints: dict[str, Array]


def dress(rng: RNG, body: Body, behind: Array) -> None:
    """Changes the clothes until shirt and trousers stand out from the mean background colour `behind` (3,)."""
    for key, same in (("shirt", "sleeve"), ("trousers", "shin")):
        old = body.colors[key]
        for _ in range(4):
            if np.abs(np.subtract(body.colors[key], behind)).max() > MIN_CONTRAST:
                break
            body.colors[key] = random_color(rng)
        if body.colors[same] == old:
            body.colors[same] = body.colors[key]


def make_actor(rng: RNG, pose: Pose) -> Actor:
    """Gives a pose a body."""
    body = random_body(rng)
    return Actor(body, pose, skeleton(body, pose))


def solo_actors(label: str, t: Array, rng: RNG) -> list[Actor]:
    """The one figure of a single-person class."""
    pose = rest(t, rng)
    pose.yaw += rng.normal(0, 7)
    SOLO_MOVES[label](pose, t, rng)
    return [make_actor(rng, pose)]


def pair_actors(label: str, t: Array, rng: RNG) -> list[Actor]:
    """The two figures of an interaction; for pointing the second one is often out of the picture."""
    duel = new_duel(t, rng, BRIEF_CONTACT if label in BRIEF else LONG_CONTACT)
    PAIR_MOVES[label](duel)
    for pose in (duel.one, duel.two):
        pose.yaw += rng.normal(0, 9)
    actors = [make_actor(rng, duel.one), make_actor(rng, duel.two)]
    angle = rng.normal(0, 9)
    for actor in actors:
        turn(actor, angle)
    if label == "pointing" and rng.random() < 0.6:
        return actors[:1]
    return actors


def turn(actor: Actor, degrees: float) -> None:
    """Turns a figure about the middle of the scene, as if the camera stood elsewhere."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for name, p in actor.joints.items():
        actor.joints[name] = np.stack([p[:, 0] * cos - p[:, 1] * sin, p[:, 0] * sin + p[:, 1] * cos, p[:, 2]], axis=1)
    actor.pose.yaw = actor.pose.yaw + degrees


def bystander(rng: RNG, t: Array) -> Actor:
    """Somebody further away who stands about or walks by."""
    pose = rest(t, rng)
    pose.yaw += rng.uniform(0, 360)
    if rng.random() < 0.35:
        pose.yaw *= 0
        walk(pose, t, rng)
    pose.x += rng.uniform(-1.6, 1.6)
    pose.y += rng.uniform(0.5, 1.6)
    return make_actor(rng, pose)


def extent(actors: list[Actor]) -> tuple[float, float, float]:
    """Left, right and top of everything the actors do, in body heights."""
    points = np.concatenate([p for actor in actors for p in actor.joints.values()])
    return points[:, 0].min() - 0.05, points[:, 0].max() + 0.05, points[:, 2].max() + 0.07


def shake(rng: RNG, count: int, size: float) -> Array:
    """Camera jitter in pixels, (2, T): a random walk that is pulled back to the middle."""
    out = np.zeros((2, count))
    step = rng.normal(0, size * 0.6, (2, count))
    for k in range(1, count):
        out[:, k] = 0.8 * out[:, k - 1] + step[:, k]
    return np.clip(out, -3 * size, 3 * size)


def solo_camera(rng: RNG, actors: list[Actor], height: int, width: int, pitch: float) -> Camera:
    """A still wide view: the figure is 36 to 60 % of the height and crosses the picture if it travels."""
    _, _, top = extent(actors)
    ground = height * rng.uniform(0.72, 0.92)
    scale = min(height * rng.uniform(0.36, 0.60), ground * 0.97 / top)
    path = scale * actors[0].pose.x
    room = width - (path[-1] - path[0])
    if room < 0.3 * width:  # too long a way for the picture: begin at its edge and run out of it
        start = width * rng.uniform(-0.05, 0.2)
    else:
        edge = min(0.22 * width, 0.45 * room)  # arms, or a trunk that bends forward, need some space
        start = rng.uniform(edge, room - edge)
    count = len(path)
    return Camera(scale, np.full(count, start - path[0]), np.full(count, ground), pitch, rng.uniform(0.0, 0.12))


def leave_picture(rng: RNG, camera: Camera, x: Array, width: int) -> Array:
    """What happens when the traveller at `x` (T,) pixels has crossed: which drawn frame each frame shows, (T,).

    Recordings end about there, and a clip that reaches past the end of a recording holds the last frame. Some
    recordings hold several passes: then the figure comes in again where it came in first.
    """
    count = len(x)
    frames = np.arange(count)
    edge = camera.scale * 0.3
    if x[-1] > width and rng.random() < 0.45:
        way = width + edge * rng.uniform(1, 3)
        camera.x = camera.x - way * np.floor(np.clip(x + edge, 0, None) / way)
        return frames
    last = count - 1
    gone = np.flatnonzero(x > width * rng.uniform(0.85, 1.05))
    if len(gone) and rng.random() < 0.9:
        last = max(int(gone[0]), 4)
    elif rng.random() < 0.1:
        last = int(rng.integers(count // 2, count))
    return np.minimum(frames, last)


def pair_camera(rng: RNG, actors: list[Actor], height: int, width: int, pitch: float) -> Camera:
    """A crop round the action, with random margins."""
    left, right, top = extent(actors)
    top *= np.cos(pitch)
    scale = min(height * rng.uniform(0.78, 0.96) / top, width * rng.uniform(0.85, 1.08) / (right - left))
    spare = max(width - scale * (right - left), 0.0)
    x = -scale * left + spare * rng.uniform(0.1, 0.9) + min(width - scale * (right - left), 0.0) / 2
    ground = height - max(height - scale * top, 0.0) * rng.uniform(0.15, 0.85)
    count = len(actors[0].pose.x)
    return Camera(scale, np.full(count, x), np.full(count, ground), pitch, rng.uniform(0.0, 0.15))


def content_size(rng: RNG, label: str, height: int, width: int, aspect: float | None) -> tuple[int, int]:
    """Height and width (pixels) of the picture inside the padding."""
    if aspect is None:
        if label in PAIR_CLASSES:
            aspect = rng.uniform(0.65, 1.75)  # the same for all of them: the shape must not tell the class
        else:
            aspect = SOLO_ASPECT if rng.random() < 0.6 else rng.uniform(0.8, 1.6)
    if aspect >= width / height:
        return min(height, max(8, round(width / aspect))), width
    return height, min(width, max(8, round(height * aspect)))


def scene_shapes(rng: RNG, actors: list[Actor], camera: Camera) -> list[Shape]:
    """Polygons of all actors, with their shadows where the light makes some."""
    shapes: list[Shape] = []
    shadow = rng.random() < 0.5
    slant, alpha = (rng.uniform(-0.9, 0.9), rng.uniform(-0.2, 0.8)), int(rng.uniform(20, 70))
    light = rng.uniform(0.65, 1.0)
    for actor in actors:
        shapes += figure_shapes(actor.body, actor.joints, actor.pose.yaw, camera, light)
        if shadow:
            shapes += cast_shadow(actor.joints, camera, slant, alpha)
    return shapes


def draw_frames(shapes: list[Shape], still: Image.Image, offset: Array, height: int, width: int) -> Array:
    """Draws every frame on the still background shifted by `offset` (2, T): (T, H, W, 3) uint8, reduced."""
    count = offset.shape[1]
    order = np.argsort(-np.stack([s.depth for s in shapes]), axis=0, kind="stable")
    # PIL takes flat lists of numbers much faster than arrays.
    points = [s.points.reshape(count, -1).tolist() for s in shapes]
    fills = [s.color for s in shapes]
    out = np.empty((count, height, width, 3), np.uint8)
    margin = (still.width - width * SUPERSAMPLE) // 2
    box = np.round(margin - offset).astype(int)
    for k in range(count):
        x, y = int(box[0, k]), int(box[1, k])
        canvas = still.crop((x, y, x + width * SUPERSAMPLE, y + height * SUPERSAMPLE))
        draw = ImageDraw.Draw(canvas, "RGBA")
        for index in order[:, k]:
            draw.polygon(points[index][k], fill=fills[index])
        out[k] = np.asarray(canvas.reduce(SUPERSAMPLE))
    return out


def soften(rng: RNG, video: Array) -> Array:
    """Lens blur and scaling: a light separable blur, mixed in at random strength. (T, H, W, 3) uint8."""
    if rng.random() < 0.4:
        return video
    count, height, width, _ = video.shape
    low = rng.uniform(0.6, 0.95)
    small = (max(8, int(width * low)), max(8, int(height * low)))
    for k in range(count):
        frame = Image.fromarray(video[k]).resize(small, Image.Resampling.BILINEAR)
        video[k] = np.asarray(frame.resize((width, height), Image.Resampling.BILINEAR))
    return video


def expose(rng: RNG, video: Array) -> Array:
    """Exposure, contrast and colour cast through one look-up table per channel. (T, H, W, 3) uint8."""
    x = np.arange(256) / 255.0
    gamma, gain, lift = np.exp(rng.normal(0, 0.2)), rng.uniform(0.8, 1.15), rng.uniform(-0.04, 0.08)
    for c in range(3):
        curve = gain * (1 + rng.normal(0, 0.05)) * x**gamma + lift
        video[..., c] = (np.clip(curve, 0, 1) * 255).astype(np.uint8)[video[..., c]]
    return video


def grain(rng: RNG, video: Array) -> Array:
    """Sensor noise: one noise picture, moved about from frame to frame (a fresh one each frame costs too much)."""
    strength = rng.uniform(0.3, 4.5)
    count, height, width, _ = video.shape
    field = rng.normal(0, strength, (height + 32, width + 32, 3)).astype(np.int16)
    corner = rng.integers(0, 32, (count, 2))
    for k, (y, x) in enumerate(corner):
        noisy = video[k] + field[y : y + height, x : x + width]
        video[k] = np.clip(noisy, 0, 255, out=noisy)
    return video


def render_clip(
    label: str,
    rng: RNG,
    *,
    frames: int = 40,
    fps: float = 15.0,
    height: int = 112,
    width: int = 112,
    aspect: float | None = None,
) -> Array:
    """One clip of `label`, (frames, height, width, 3) uint8 RGB, `frames / fps` seconds long.

    The picture of a random shape lies in the middle of the frame and the rest is gray, as after scaling real footage
    into a square. `aspect` fixes its width / height instead; `aspect=width / height` fills the frame.
    """
    if label not in CLASSES:
        raise ValueError(f"unknown label {label!r}; one of {', '.join(CLASSES)}")
    t = np.arange(frames) / fps
    paired = label in PAIR_CLASSES
    rows, cols = content_size(rng, label, height, width, aspect)
    big_rows, big_cols = rows * SUPERSAMPLE, cols * SUPERSAMPLE
    actors = (pair_actors if paired else solo_actors)(label, t, rng)

    open_ground = rng.random() < (0.75 if paired else 0.25)
    pitch = np.radians(rng.uniform(8, 28) if open_ground else rng.uniform(0, 8))
    camera = (pair_camera if paired else solo_camera)(rng, actors, big_rows, big_cols, pitch)
    horizon = None if open_ground else camera.ground[0] - rng.uniform(0.0, 0.12) * camera.scale
    offset = shake(rng, frames, rng.uniform(0.2, 1.0) * SUPERSAMPLE) if rng.random() < 0.3 else np.zeros((2, frames))
    camera.x, camera.ground = camera.x + offset[0], camera.ground + offset[1]

    shown = np.arange(frames)
    if not paired and aspect is None:
        shown = leave_picture(rng, camera, camera.x + camera.scale * actors[0].pose.x, big_cols)
    margin = int(np.ceil(np.abs(offset).max())) + 1
    still = background(rng, big_rows + 2 * margin, big_cols + 2 * margin, horizon)
    behind = np.asarray(still.resize((1, 1), Image.Resampling.BOX))[0, 0].astype(float)
    for actor in actors:
        dress(rng, actor.body, behind)
    if rng.random() < 0.12:
        actors.append(bystander(rng, t))
    video = draw_frames(scene_shapes(rng, actors, camera), still, offset, rows, cols)
    video = grain(rng, expose(rng, soften(rng, video)))[shown]
    if rng.random() < 0.5:
        video = video[:, :, ::-1]
    return pad(video, height, width)


def pad(video: Array, height: int, width: int) -> Array:
    """Centres (T, h, w, 3) on a gray (T, height, width, 3)."""
    count, rows, cols, _ = video.shape
    out = np.full((count, height, width, 3), PAD_VALUE, np.uint8)
    top, left = (height - rows) // 2, (width - cols) // 2
    out[:, top : top + rows, left : left + cols] = video
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Sets of clips
# ---------------------------------------------------------------------------------------------------------------------


def _numbered_clip(job: tuple[int, int, int, dict[str, float]]) -> Array:
    seed, label, index, options = job
    return render_clip(CLASSES[label], np.random.default_rng([seed, label, index]), **options)


def render_set(
    count_per_class: int,
    seed: int,
    path: str | Path | None = None,
    *,
    workers: int = 1,
    first: int = 0,
    **options: float,
) -> tuple[Array, Array]:
    """`count_per_class` clips of each class, the same for the same seed whatever `workers` is.

    Returns clips (16 * N, frames, H, W, 3) uint8, class by class in turn (0, 1, ... 15, 0, 1, ...), and labels
    (16 * N,) int64. `options` go to `render_clip`. With `path` the two are also saved there as an .npz file.
    A clip of the default size takes 1.5 MB: for a large set go through it in pieces, with `first` the number of clips
    per class that are done.
    """
    jobs = [
        (seed, label, index, options)
        for index in range(first, first + count_per_class)
        for label in range(len(CLASSES))
    ]
    labels = np.array([job[1] for job in jobs], np.int64)
    clips: Array | None = None
    pool = multiprocessing.Pool(workers) if workers > 1 else None
    try:
        results = pool.imap(_numbered_clip, jobs, chunksize=8) if pool else map(_numbered_clip, jobs)
        for k, clip in enumerate(results):
            if clips is None:
                clips = np.empty((len(jobs), *clip.shape), np.uint8)
            clips[k] = clip
    finally:
        if pool:
            pool.terminate()
    if clips is None:
        raise ValueError("count_per_class must be at least 1")
    if path is not None:
        np.savez(path, clips=clips, labels=labels)
    return clips, labels


def contact_sheet(clips: Array, columns: int = 14) -> Array:
    """(N, T, H, W, 3) -> one picture, a row per clip, `columns` frames spread evenly over it."""
    picks = np.linspace(0, clips.shape[1] - 1, columns).round().astype(int)
    return np.concatenate([np.concatenate(list(clip[picks]), axis=1) for clip in clips], axis=0)


def main() -> None:
    """Writes a contact sheet (.png, .jpg) or a set of clips (.npz)."""
    parser = argparse.ArgumentParser(description="Render clips of human figures.")
    parser.add_argument("--out", required=True, help="a .png or .jpg contact sheet, or an .npz set")
    parser.add_argument("--per-class", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--size", type=int, default=112, help="height and width in pixels")
    args = parser.parse_args()
    options = {"frames": args.frames, "fps": args.fps, "height": args.size, "width": args.size}
    save = args.out if args.out.endswith(".npz") else None
    clips, labels = render_set(args.per_class, args.seed, save, workers=args.workers, **options)
    if save is None:
        Image.fromarray(contact_sheet(clips[np.argsort(labels, kind="stable")])).save(args.out)


if __name__ == "__main__":
    main()
