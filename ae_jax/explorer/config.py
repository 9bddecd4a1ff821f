"""Settings of the command that writes the explorer."""

import dataclasses

from ae_jax.config import dataset_of_run_setting, run_argument, setting, shared_setting
from ae_jax.system.outputs import check_output


@dataclasses.dataclass(frozen=True)
class ExploreConfig:
    """The settings of an explorer."""

    run: str = run_argument()
    out: str | None = setting(None, "file for the page, .html (default: explorer.html in the run directory)")
    dataset: str | None = dataset_of_run_setting()
    data_dir: str | None = shared_setting("data_dir", group=None)
    manual_dir: str | None = shared_setting("manual_dir", group=None)

    def __post_init__(self) -> None:
        if self.out is not None:
            check_output(self.out, "--out", (".html",))
