import os
import signal

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
