"""Tables of real runs, against numbers read from their logs by other means."""

import json
import math
import shutil

import pytest

from visual_thought.evaluate.paper.build import paper_tables
from visual_thought.evaluate.paper.runs import BEST_BY, read_run
from visual_thought.evaluate.recipe import recipe_of
from visual_thought.pipeline import registry
from visual_thought.pipeline.errors import ConfigError

from .reading import cells, logged, rows

T_ONE_DEGREE = 12.7062


def test_blocks_and_arrows_are_those_of_the_sweep(swept_once):
    (table, _) = paper_tables([swept_once])
    assert [block.name for block in table.blocks] == ["LR", "Margin p-", "Controls"]
    assert [row.carried for row in rows(table)] == [True, False, False, True]
    assert [cells(table, row)["optimizer.lr"].value for row in rows(table)] == [1e-2, 3e-2, 1e-2, 1e-2]
    assert [cells(table, row)["optimizer.lr"].varied for row in rows(table)] == [True, True, False, False]


def test_a_row_is_mean_and_interval_of_its_seeds_at_the_last_step(swept_once):
    table = paper_tables([swept_once], number=3)[0]
    for row, cell in ((rows(table)[1], "lr-0.03"), (rows(table)[3], "margin-p--0.15")):
        for metric in ("fp", "f_0_25", "loss"):
            values = [logged(swept_once / cell / f"seed-{seed}", 12)[metric] for seed in (0, 1)]
            found = cells(table, row)[f"val.{metric}"]
            assert found.value == pytest.approx(sum(values) / 2)
            assert found.half == pytest.approx(T_ONE_DEGREE * abs(values[0] - values[1]) / 2, rel=1e-4)


def test_the_best_of_each_block_is_marked_and_no_other(swept_once):
    table = paper_tables([swept_once], number=3)[0]
    for block in table.blocks[:2]:
        for place, column in enumerate(table.columns):
            values = [row.cells[place].value for row in block.rows]
            wanted = {"lower": min, "higher": max}.get(column.better)
            marked = [row.cells[place].value for row in block.rows if row.cells[place].best]
            assert marked == ([value for value in values if value == wanted(values)] if wanted else [])
    assert not any(cell.best for row in table.blocks[2].rows for cell in row.cells)


def test_best_validations_may_be_asked_for(swept_once):
    table = paper_tables([swept_once], number=3, at="best")[0]
    runs = [swept_once / "lr-0.03" / f"seed-{seed}" for seed in (0, 1)]
    best = [max(logged(run, step)["f_0_25"] for step in (4, 8, 12)) for run in runs]
    assert cells(table, rows(table)[1])["val.f_0_25"].value == pytest.approx(sum(best) / 2)


def test_the_best_of_equal_validations_has_the_lowest_loss_as_in_training(swept):
    run = swept / "lr-0.03" / "seed-0"
    losses = {4: 3.0, 8: 1.0, 12: 2.0}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "validation" and line["contender"] == "instruction_blind":
            line |= {"f_0_25": 0.0, "loss": losses[line["step"]]}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_run(run).step_at("best", "instruction_blind") == 8
    table = paper_tables([run], number=3, at="best")[0]
    assert cells(table, rows(table, "control")[0])["val.loss"].value == 1.0


@pytest.mark.parametrize("task", sorted(BEST_BY))
def test_the_best_is_chosen_by_the_metric_of_the_task(task):
    known = registry.load("task", task)
    assert BEST_BY[task] == (known.best_by, 1.0 if known.higher_is_better else -1.0)


def redrawn(run, data):
    """The same run, as if validations had scored other training examples."""
    record = json.loads((run / "run.json").read_text())
    record["splits"]["train_eval"] = data
    (run / "run.json").write_text(json.dumps(record))


def test_seeds_are_one_row_whichever_training_examples_their_validations_scored(swept):
    runs = [swept / "lr-0.03" / f"seed-{seed}" for seed in (0, 1)]
    for run, episodes in zip(runs, ([0], [0, 1]), strict=True):
        redrawn(run, {"episodes": episodes, "examples": 8})
    (row,) = rows(paper_tables(runs, number=3)[0])
    assert len(row.runs) == 2
    assert len({recipe_of(read_run(run).record) for run in runs}) == 1


def test_run_folders_alone_are_arranged_by_the_factors_they_vary(swept_once):
    runs = [path.parent for path in swept_once.glob("*/*/run.json")]
    table = paper_tables(runs, number=3)[0]
    assert [(block.name, len(block.rows)) for block in table.blocks] == [("LR", 2), ("Margin p-", 2), ("Controls", 2)]
    assert not any(row.carried for row in rows(table))
    assert all(len(row.runs) == 2 for row in rows(table))


def test_a_folder_of_run_folders_is_as_good_as_naming_them(swept_once):
    table = paper_tables([swept_once / "lr-0.01", swept_once / "lr-0.01" / "seed-0"], number=3)[0]
    assert [len(row.runs) for row in rows(table)] == [2]


def test_table_4_compares_the_thirds_of_a_short_run_with_its_best_and_last(swept_once):
    run = swept_once / "lr-0.03" / "seed-0"
    table = paper_tables([run], number=4)[0]
    assert [row.label for row in rows(table)] == ["1/3", "2/3", "best", "last"]
    best = max((4, 8, 12), key=lambda step: (logged(run, step)["f_0_25"], -logged(run, step)["loss"], step))
    for row, step in zip(rows(table), (4, 8, best, 12), strict=True):
        found = cells(table, row)
        assert found["step"].value == f"{step}"
        assert found["val.fn"].value == logged(run, step)["fn"]
        assert found["val.loss"].value == logged(run, step)["loss"]
    assert any("thirds stand where the paper has 20k and 40k" in note for note in table.notes)


def test_table_1_has_both_losses_in_the_experts_unit_and_the_true_sizes(experts_once):
    table = paper_tables([experts_once / "distill"])[0]
    assert [cells(table, row)["decoder.num_layers"].value for row in rows(table)] == [1, 2]
    told = {run["run"]: run for run in json.loads((experts_once / "distill" / "sweep.json").read_text())["runs"]}
    for row, name in zip(rows(table), ("layers-1/seed-0", "layers-2/seed-0"), strict=True):
        found, run = cells(table, row), experts_once / "distill" / name
        assert found["size.all"].value == told[name]["parameters"]
        assert found["val.mse"].value == logged(run, 10)["mse"]
        assert found["train.mse"].value == logged(run, 10, split="train")["mse"]
    assert [row.label for row in rows(table, "control")] == ["target_mean", "linear_probe"]


def test_table_2_counts_decoder_and_head_apart(experts_once):
    table = paper_tables([experts_once / "dense"])[0]
    found = cells(table, rows(table)[0])
    convolutions = 2 * (16 * 16 * 9 + 16) + 16 * 3 + 3
    assert found["size.head"].value == 16 * 16 + 16 + convolutions
    assert found["head.grid"].value == [6, 6]
    assert found["size.decoder"].value > 0
    assert found["val.mse"].value == logged(experts_once / "dense", 10)["mse"]


def test_runs_of_several_tasks_get_a_table_each_and_never_share_one(experts_once, swept_once):
    folders = [experts_once / "dense", swept_once, experts_once / "distill"]
    assert [table.number for table in paper_tables(folders)] == [1, 2, 3, 4]
    with pytest.raises(ConfigError, match="table 2 is of runs of the task dense") as refused:
        paper_tables(folders, number=2)
    assert any("(distill)" in found for found in refused.value.found)


def test_runs_on_other_features_are_rows_of_their_own(swept_once, untrained_once):
    table = paper_tables([swept_once / "margin-p--0.15", untrained_once], number=3)[0]
    assert len(rows(table)) == 2
    assert [column.heading for column in table.columns][-1] == "z"


def test_the_papers_numbers_stand_below_a_run_of_its_recipe(swept):
    """A real run's folder, written as if its recipe and length had been the paper's."""
    run = swept / "lr-0.01" / "seed-0"
    record = json.loads((run / "run.json").read_text())
    config = record["config"]
    config["decoder"] |= {"dim": 256, "num_layers": 4, "num_heads": 32, "dropout": 0.3}
    config["head"] |= {"dim": 384, "candidates": 5, "num_heads": 8}
    config["objective"] |= {"p_negative": 0.15}
    config["optimizer"] |= {"lr": 5e-6}
    config |= {"steps": 60000, "batch_size": 32, "scheduler": {"name": "constant", "warmup_steps": 1000}}
    config["scheduler"]["final_ratio"] = 0.0
    (run / "run.json").write_text(json.dumps(record))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    longer = [json.dumps(line | {"step": line["step"] * 5000}) + "\n" for line in lines]
    (run / "metrics.jsonl").write_text("".join(longer))
    three, four = paper_tables([run])
    paper = rows(three, "paper")[0]
    assert [cells(three, paper)[key].value for key in ("val.fp", "val.f_0_25", "size.all")] == [122, 0.848, 12.79e6]
    assert [row.label for row in rows(four)] == ["20k", "40k", "best", "60k"]
    assert [cells(four, row)["val.fp"].value for row in rows(four, "paper")] == [105, 98, 104, 122]
    assert not any("numbers are left out" in note for table in (three, four) for note in table.notes)


def test_without_the_papers_recipe_the_first_differences_are_named(swept_once):
    note = paper_tables([swept_once], number=3)[0].notes[-1]
    assert note.startswith("the paper's numbers are left out, because the recipe is another: ")
    assert "more" in note


def test_an_unfinished_run_says_where_it_stands_and_is_never_the_best(swept):
    run = swept / "lr-0.03"
    for seed in (0, 1):
        log = run / f"seed-{seed}" / "metrics.jsonl"
        kept = [line for line in log.read_text().splitlines(keepends=True) if json.loads(line)["step"] <= 8]
        log.write_text("".join(kept))
    table = paper_tables([swept], number=3)[0]
    row = table.blocks[0].rows[1]
    assert not row.finished
    assert cells(table, row)["val.fp"].value == pytest.approx(
        sum(logged(run / f"seed-{seed}", 8)["fp"] for seed in (0, 1)) / 2
    )
    assert not any(cell.best for cell in row.cells)
    assert any("stand at step 8 of 12: not finished" in note for note in table.notes)


def test_finished_seeds_alone_are_counted_where_another_is_not(swept):
    log = swept / "lr-0.03" / "seed-1" / "metrics.jsonl"
    log.write_text("")
    table = paper_tables([swept], number=3)[0]
    row = table.blocks[0].rows[1]
    found = cells(table, row)["val.loss"]
    assert (found.value, found.half) == (logged(swept / "lr-0.03" / "seed-0", 12)["loss"], None)
    assert any("1 of 2 seeds" in note for note in table.notes)
    assert any("before the first validation" in note for note in table.notes)


def test_a_run_without_any_validation_is_a_row_of_nothing(swept):
    run = swept / "lr-0.03" / "seed-1"
    (run / "metrics.jsonl").unlink()
    three, four = paper_tables([run])
    assert cells(three, rows(three)[0])["val.f_0_25"].value is None
    assert all(cells(four, row)["step"].value is None for row in rows(four))


def test_a_repeated_seed_counts_once_and_is_named(swept):
    shutil.copytree(swept / "lr-0.03" / "seed-0", swept.parent / "again", symlinks=True)
    table = paper_tables([swept, swept.parent / "again"], number=3)[0]
    assert len(table.blocks[0].rows[1].runs) == 2
    assert any("repeats the setting and seed" in note for note in table.notes)


def test_cells_that_a_sweep_has_lost_or_that_failed_are_named(swept):
    shutil.rmtree(swept / "lr-0.03")
    data = json.loads((swept / "sweep.json").read_text())
    data["runs"][2] |= {"status": "failed", "reason": "the loss is not a finite number"}
    (swept / "sweep.json").write_text(json.dumps(data))
    table = paper_tables([swept], number=3)[0]
    assert len(table.blocks[0].rows) == 1
    failed = [note for note in table.notes if "failed: the loss is not a finite number" in note]
    assert len(failed) == 1


def test_sizes_are_unknown_without_a_checkpoint_and_the_table_says_so(swept):
    run = swept / "lr-0.03" / "seed-0"
    shutil.rmtree(run / "checkpoints")
    table = paper_tables([run], number=3)[0]
    assert cells(table, rows(table)[0])["size.all"].value is None
    assert any("no readable checkpoint" in note for note in table.notes)


def test_numbers_are_finite_or_nothing(swept):
    run = swept / "lr-0.03" / "seed-0"
    log = run / "metrics.jsonl"
    log.write_text(log.read_text().replace('"fp": ', '"fp": NaN, "was": '))
    table = paper_tables([run], number=3)[0]
    assert cells(table, rows(table)[0])["val.fp"].value is None
    values = [cell.value for row in rows(table) for cell in row.cells if isinstance(cell.value, float)]
    assert all(map(math.isfinite, values))
