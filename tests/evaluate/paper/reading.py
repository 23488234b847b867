"""What a run's log says, and a table's rows and cells."""

import json


def logged(run, step, contender="head", split="val"):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [
        line
        for line in lines
        if line["kind"] == "validation" and (line["step"], line["contender"], line["split"]) == (step, contender, split)
    ]
    return found[-1]


def cells(table, row):
    return {column.key: cell for column, cell in zip(table.columns, row.cells, strict=True)}


def rows(table, of="head"):
    return [row for block in table.blocks for row in block.rows if row.of == of]
