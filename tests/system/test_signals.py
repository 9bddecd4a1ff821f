import os
import signal
import subprocess
import sys

import pytest

from ae_jax.system.signals import Interrupted, deferred

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_deferred_and_a_second_one_interrupts_at_once(signum: signal.Signals) -> None:
    handler = signal.getsignal(signum)
    with deferred() as pending_signal:
        assert pending_signal() is None
        os.kill(os.getpid(), signum)
        assert pending_signal() == signum
        with pytest.raises(Interrupted) as error:
            os.kill(os.getpid(), signum)
    assert error.value.signum == signum
    assert signal.getsignal(signum) is handler


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (
            "gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGTERM)); gc.collect()",
            "",
        ),  # swallows exceptions
        ("try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(9)\nexcept BaseException:\n    pass", ""),
        ("with deferred():\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('in', flush=True)", "in\n"),
        ("with uninterrupted():\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('in', flush=True)", "in\n"),
    ],
)
def test_no_signal_to_a_script_is_lost(body: str, output: str) -> None:
    program = (
        "import gc, os, signal, time\n"
        "from ae_jax.system.signals import deferred, exit_on_signals, uninterrupted\n"
        f"exit_on_signals()\n{body}\nprint('out')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (143, output, "Terminated.\n")
