"""A process that has the parts of a store mapped when one of their files is cut short.

    python truncating.py STORE FILE PART BYTES

The file is cut right before a batch that looks at the sizes of files. Prints what became of the batches after it.
"""

import json
import os
import re
import sys

if __package__:
    from .reads import is_mapped, read
    from .toys import ROWS, some_values
else:
    from reads import is_mapped, read
    from toys import ROWS, some_values

from visual_thought.pipeline.errors import StoreCorrupt
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.mappings import LOOK_EVERY


def problem(reader, rows):
    try:
        read(reader, rows)
    except StoreCorrupt as error:
        return re.search("ends inside row [0-9]+", str(error))[0]
    return "no error"


def verdict(reader, rows, values):
    return "right" if (read(reader, rows) == values[list(rows)]).all() else "wrong"


def main(path, file, part, keep):
    with FeatureStore.open(path).reader("z", engine="direct") as reader:
        values, first = some_values(reader.spec), 128 * part
        for _ in range(LOOK_EVERY):  # the first batch reads, the others copy
            assert (read(reader, range(ROWS)) == values).all()
        told = {"mapped": is_mapped(file)}
        os.chmod(file, 0o640)
        os.truncate(file, keep)
        told["errors"] = [problem(reader, range(ROWS)) for _ in range(3)]
        told["rows before the cut"] = verdict(reader, range(first, first + 5), values)
        told["other parts"] = verdict(reader, range(128, 256), values)
        told["last row"] = "no error" if problem(reader, [min(first + 127, ROWS - 1)]) == "no error" else "an error"
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
