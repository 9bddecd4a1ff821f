"""`scripts/evaluate.py`: an evaluation as a table, a file and a picture."""

import json
from pathlib import Path

from ae_jax.figures import figure_bytes
from ae_jax.inspection.config import EvaluateConfig
from ae_jax.inspection.evaluation import evaluate_model
from ae_jax.inspection.evaluation_figure import evaluation_figure
from ae_jax.inspection.tables import evaluation_table
from ae_jax.runs.load import load_model
from ae_jax.system.outputs import check_folder, write_output


def evaluate_run(config: EvaluateConfig) -> None:
    """Evaluate, print the table, and write the files.

    Raises:
      InputError: the run or the data cannot be read.
      RunError: a file cannot be written.
    """
    trained = load_model(config.run)
    path = Path(config.figure) if config.figure else trained.figure_path("evaluation")
    check_folder(path.parent)
    evaluation = evaluate_model(trained, config.dataset, data_dir=config.data_dir, manual_dir=config.manual_dir)
    summary = evaluation.summary()
    print(f"{trained.checkpoint}, step {trained.step:,}\n\n{evaluation_table(summary)}\n")
    if config.json:
        write_output(config.json, (json.dumps(summary, indent=2) + "\n").encode())
    write_output(path, figure_bytes(evaluation_figure(evaluation), path.suffix))
    print(f"The picture is {path}")
