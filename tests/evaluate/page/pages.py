"""A page with everything in it, and texts that would like to be more than text."""

import io

import numpy as np
from PIL import Image

from visual_thought.evaluate.page.content import Command, Commands, Fact, Facts, Figure, Number, Page, Table

SCRIPT = "<script>document.title='taken'</script>"
BROKEN_OUT = '"><img src=x onerror="document.title=\'taken\'">'
STYLED = "</style><style>body{display:none}</style>"
TEMPLATED = "{{ 7 * 7 }}{% raw %}"
HOSTILE = (
    SCRIPT,
    BROKEN_OUT,
    STYLED,
    TEMPLATED,
    "' onload=alert(1) x='",
    "javascript:alert(1)",
    "--><!--",
    "&lt;b&gt;",
)


def png(width=64, height=48, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def table(*, title="Scores", first="head", note="Pooled."):
    rows = [(first, "0.93", "412"), ("linear probe", "0.41", "6,602")]
    return Table(title, ("contender", "F 0.25", "FP"), rows, bold=frozenset({(0, 1)}), notes=(note,))


def page(text="take the red cube"):
    """A page in which ``text`` stands wherever a text can stand."""
    figure = Figure(text, png(), text, text)
    facts = Facts(text, [Fact(text, text), Fact("fingerprint", text, exact=True)], (text,))
    commands = Commands(text, [Command(text, f"vtt eval {text}")], (text,))
    return Page(
        title=text,
        subtitle=text,
        summary=[Number(text, text, text)],
        tables=[table(), table(title=text, first=text, note=text), Table(text, (text, text), [(text, text)])],
        figures=[figure, Figure("Second", png(seed=1), "Another picture.", "Noise.")],
        failures=[figure],
        cost=[facts],
        provenance=[facts, commands],
        missing=[text],
        simulated=True,
    )
