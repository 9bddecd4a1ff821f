import os
import signal
import subprocess
import sys

import pytest

from ae_jax.system.signals import Interrupted, deferred

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
IN_C_CODE = """
import os, signal, threading, time

def in_c_code(seconds):
    'Get SIGTERM in another thread, as if this one was in C code that Python handlers wait for.'
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    time.sleep(seconds)
"""


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
        ("with uninterrupted():\n    in_c_code(1.5)\n    print('in', flush=True)", "in\n"),  # a slow disk
    ],
)
def test_no_signal_to_a_script_is_lost(body: str, output: str) -> None:
    program = (
        f"import gc\n{IN_C_CODE}"
        "from ae_jax.system.signals import deferred, exit_on_signals, uninterrupted\n"
        f"exit_on_signals()\n{body}\nprint('out')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (143, output, "Terminated.\n")


@pytest.mark.parametrize("event", ["os.kill(os.getpid(), signal.SIGTERM)", "in_c_code(99)"])
def test_what_is_to_be_done_before_the_exit_is_done_and_may_say_something(event: str) -> None:
    program = (
        f"{IN_C_CODE}"
        "from ae_jax.system.signals import before_exit, exit_on_signals\n"
        "exit_on_signals()\n"
        "with before_exit(lambda: 'over'):\n    pass\n"
        "with before_exit(lambda: print('done', flush=True)), before_exit(lambda: 'Go on: \\x1b\\n\\u2192.'):\n"
        f"    {event}\n    time.sleep(99)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment)
    expected = "Terminated. Go on: \\x1b\\n\u2192.\n"
    assert (result.returncode, result.stdout, result.stderr) == (143, "done\n", expected)
