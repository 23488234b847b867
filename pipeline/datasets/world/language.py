"""What is said about the cube table: colours, the task's instruction, and the phrases of the pretext."""

COLOURS = ("orange", "blue", "black")
BOX = "white box"

# Referents that a phrase can name. The first five are whole objects; the others name a state, not a look alone.
REFERENTS = (
    "orange cube",
    "blue cube",
    "black cube",
    BOX,
    "gripper",
    "cube in the gripper",
    "cube in the box",
)
COMPOUNDS = tuple(f"{colour} cube in the {place}" for place in ("gripper", "box") for colour in COLOURS)

# Phrase grounding is pretrained on these, in the manner of Florence-2's referring expressions; the task's own
# instruction is not among them (it is met only by the action loss, as a policy meets it).
PHRASE_TEMPLATES = (
    "{}",
    "the {}",
    "find the {}",
    "where is the {}",
    "locate {}",
    "point to the {}",
    "look at the {}",
    "show me the {}",
)


def instruction(colour: str) -> str:
    """The task's instruction, as the real cube set words it."""
    return f"Pick up {colour} cube and place inside {BOX}"


def phrases(referent: str) -> tuple[str, ...]:
    """All ways in which the pretext asks for a referent."""
    return tuple(template.format(referent) for template in PHRASE_TEMPLATES)


def corpus() -> list[str]:
    """Every word that the world can say, in sentences: what its tokenizer is trained on."""
    said = [instruction(colour) for colour in COLOURS]
    return said + [phrase for referent in REFERENTS for phrase in phrases(referent)]
