"""`ae-jax explore`: write a page in which a trained model is drawn on, walked through and decoded."""

from pathlib import Path

from ae_jax.errors import InputError
from ae_jax.explorer.config import ExploreConfig
from ae_jax.explorer.page import explorer_page
from ae_jax.runs.load import load_model
from ae_jax.system.outputs import check_output_dir, replace_output, write_output


def explore_run(config: ExploreConfig) -> None:
    """Write the page and print its path.

    Raises:
      InputError: the run or the data cannot be read.
      RunError: the page cannot be written.
    """
    trained = load_model(config.run)
    path = Path(config.out) if config.out else trained.run_dir / "explorer.html"
    check_output_dir(path.parent)
    folders = {"data_dir": config.data_dir, "manual_dir": config.manual_dir}
    test_set = trained.open_splits(config.dataset, **folders)[1].load()
    if len(test_set.images) < 2:
        raise InputError(f"{test_set.name} has only one test image; give a dataset with at least two.")
    content = explorer_page(trained, test_set).encode()
    write = write_output if config.out else replace_output
    write(path, content)
    print(f"{path}: open it in a browser ({len(content) / 2**20:.1f} MiB, needs no network)")
