"""A five-joint arm with a gripper, built from boxes and cylinders in the proportions of an SO-101.

Joints (radians): pan about the vertical, shoulder lift, elbow flex, wrist flex (all pitch, measured from the link
before), wrist roll about the gripper's own axis; the sixth value is the gripper's opening in metres.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .solids import Pose, Solid, box, cylinder, turn

SHOULDER_X, SHOULDER_Z = 0.030, 0.115  # metres from the base's centre, at pan 0
UPPER, FOREARM, HAND = 0.125, 0.140, 0.130  # HAND: wrist to the middle between the finger tips
OPEN, JAW_LENGTH = 0.058, 0.055
LOWER = np.array([-1.9, -0.2, -2.6, -2.4, -2.8])
UPPER_LIMIT = np.array([1.9, 2.2, 0.2, 1.0, 2.8])
HOME = np.array([0.0, 1.75, -2.2, -0.9, 0.0])


class Part(NamedTuple):
    """One rigid piece of the arm in the world."""

    solid: Solid
    pose: Pose
    material: str  # "link" | "motor" | "jaw"


def hand_pose(joints: Float[np.ndarray, "5"]) -> Pose:
    """Pose of the grasp point: local x along the fingers, local y the direction in which they open."""
    return _chain(joints)[-1]


def parts(joints: Float[np.ndarray, "5"], opening: float) -> list[Part]:
    """Every visible piece for one configuration."""
    pan, upper, forearm, hand, grasp = _chain(joints)
    base = Pose(np.eye(3), np.zeros(3))
    finger = opening / 2 + 0.004
    return [
        Part(box((0.095, 0.085, 0.030), (-0.01, 0, 0.015)), base, "link"),
        Part(cylinder(0.034, 0.040, 2, (0, 0, 0.048)), base, "motor"),
        Part(box((0.060, 0.052, 0.058), (0.012, 0, 0.030)), pan, "link"),
        Part(cylinder(0.021, 0.062, 1), upper, "motor"),
        Part(box((UPPER, 0.026, 0.034), (UPPER / 2, 0, 0)), upper, "link"),
        Part(cylinder(0.019, 0.056, 1), forearm, "motor"),
        Part(box((FOREARM, 0.022, 0.028), (FOREARM / 2, 0, 0)), forearm, "link"),
        Part(cylinder(0.016, 0.046, 1), hand, "motor"),
        Part(box((0.040, 0.036, 0.030), (0.030, 0, 0)), hand, "link"),
        Part(cylinder(0.015, 0.016, 0, (-HAND + 0.056, 0, 0)), grasp, "motor"),
        Part(box((0.018, 0.075, 0.024), (-JAW_LENGTH - 0.006, 0, 0)), grasp, "jaw"),
        Part(box((JAW_LENGTH + 0.010, 0.008, 0.016), (-JAW_LENGTH / 2 + 0.005, finger, 0)), grasp, "jaw"),
        Part(box((JAW_LENGTH + 0.010, 0.008, 0.016), (-JAW_LENGTH / 2 + 0.005, -finger, 0)), grasp, "jaw"),
    ]


def reach(target: Float[np.ndarray, "3"], *, jaw_yaw: float, pitch: float = -np.pi / 2) -> Float[np.ndarray, "5"]:
    """Joints that bring the grasp point to ``target`` (metres), with the jaws turned to ``jaw_yaw`` about the vertical.

    In closed form: pan faces the target, the two links carry the wrist with the elbow up, and of the hand's pitches
    within the joints' limits the nearest to ``pitch`` is taken, so that far targets are reached with a tilted hand.

    Raises:
        ValueError: no pitch reaches the target.
    """
    pan = np.arctan2(target[1], target[0])
    tilts = np.linspace(-np.pi, np.pi / 4, 1081)  # every 0.2 degrees
    out = np.hypot(target[0], target[1]) - SHOULDER_X - HAND * np.cos(tilts)
    up = target[2] - SHOULDER_Z - HAND * np.sin(tilts)
    bend = (out**2 + up**2 - UPPER**2 - FOREARM**2) / (2 * UPPER * FOREARM)
    elbow = -np.arccos(np.clip(bend, -1, 1))
    lift = np.arctan2(up, out) - np.arctan2(FOREARM * np.sin(elbow), UPPER + FOREARM * np.cos(elbow))
    roll = (pan - jaw_yaw + np.pi / 2) % np.pi - np.pi / 2  # jaws are symmetric: half turns are the same
    joints = np.stack([np.full_like(lift, pan), lift, elbow, tilts - lift - elbow, np.full_like(lift, roll)], axis=1)
    fits = (np.abs(bend) <= 1) & ((joints >= LOWER) & (joints <= UPPER_LIMIT)).all(axis=1)
    if not fits.any():
        raise ValueError(f"the arm does not reach {np.round(target, 3).tolist()}")
    best: Float[np.ndarray, "5"] = joints[np.argmin(np.where(fits, np.abs(tilts - pitch), np.inf))]
    return best


def _chain(joints: Float[np.ndarray, "5"]) -> tuple[Pose, Pose, Pose, Pose, Pose]:
    """Frames of the panned base, upper arm, forearm, hand (at the wrist) and grasp point."""
    pan = Pose(turn(2, joints[0]), np.array([0.0, 0.0, 0.066]))
    shoulder = np.array([SHOULDER_X, 0.0, SHOULDER_Z - 0.066])
    upper = pan.after(Pose(turn(1, -joints[1]), shoulder))
    forearm = upper.after(Pose(turn(1, -joints[2]), np.array([UPPER, 0.0, 0.0])))
    hand = forearm.after(Pose(turn(1, -joints[3]), np.array([FOREARM, 0.0, 0.0])))
    grasp = hand.after(Pose(turn(0, joints[4]), np.array([HAND, 0.0, 0.0])))
    return pan, upper, forearm, hand, grasp
