"""Whatever the parsers of a store are given, only errors of ours come out, and little memory goes in."""

import pytest

from .processes import run

EXAMPLES = 60


def refusals(examples):
    """How many inputs every parser refused."""
    lines = run("fuzz.py", examples).splitlines()
    return {name: int(count) for name, count in (line.split("\t") for line in lines)}


def prove(examples):
    refused = refusals(examples)
    assert len(refused) >= 12
    assert min(refused.values()) > examples // 10, refused  # most of what was changed is refused


def test_near_valid_inputs_are_read_or_refused_by_name():
    prove(EXAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_very_many_near_valid_inputs_are_read_or_refused_by_name():
    prove(50 * EXAMPLES)
