"""`Device` on a GPU: what a captured graph holds, and what it leaves out."""

import ctypes
import importlib

import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.device import Device

pytestmark = pytest.mark.gpu


def test_a_captured_graph_reads_its_inputs_at_every_launch(device: Device) -> None:
    given, found = (device.host_array((5,), np.float32) for _ in range(2))
    address = device.allocate(given.nbytes)

    def work() -> None:
        device.upload(address, given)
        device.clear(address, 4)
        device.download(found, address)

    graph = device.capture(work)
    device.synchronize()
    assert not found.any()
    for value in (1.0, 2.0):
        given[:] = value
        device.launch(graph)
        device.synchronize()
        assert found.tolist() == [0.0, value, value, value, value]


def test_a_fork_and_a_join_keep_their_order_captured_or_not(device: Device) -> None:
    """What is on the second stream comes after the fork and before what follows the join."""
    first, second, found = (device.host_array((1 << 20,), np.float32) for _ in range(3))
    first[:], second[:] = 1, 2
    address = device.allocate(first.nbytes)

    def work() -> None:
        device.upload(address, first)
        device.fork()
        device.upload(address, second, device.side_stream)
        device.join()
        device.download(found, address)

    graph = device.capture(work)
    for run in (work, lambda: device.launch(graph)):
        found[:] = 0
        run()
        device.synchronize()
        assert (found == 2).all()


def test_callbacks_on_the_host_are_left_out_and_their_neighbours_keep_their_order(device: Device) -> None:
    """The callback is C's `time`, which writes the time to where it is told."""
    driver = importlib.import_module("cuda.bindings.driver")
    callback = ctypes.cast(ctypes.CDLL(None).time, ctypes.c_void_p).value
    written = np.zeros(1, np.int64)
    first, second, found = (device.host_array((1,), np.int32) for _ in range(3))
    first[:], second[:] = 1, 2
    address = device.allocate(4)

    def call_back() -> None:
        (status,) = driver.cuLaunchHostFunc(device.stream, driver.CUhostFn(callback), written.ctypes.data)
        assert int(status) == 0

    def work() -> None:
        call_back()
        device.upload(address, first)
        call_back()
        call_back()
        device.upload(address, second)
        device.download(found, address)
        call_back()

    graph = device.capture(work)
    device.launch(graph)
    device.synchronize()
    assert written[0] == 0
    assert found[0] == 2
    work()
    device.synchronize()
    assert written[0] > 0


def test_marks_within_a_graph_measure_time(device: Device) -> None:
    address = device.allocate(1 << 28)

    def work() -> None:
        device.mark(0)
        device.clear(address, 1 << 28)
        device.mark(1)

    work()
    device.launch(device.capture(work))
    device.synchronize()
    assert 1e-6 < device.seconds_between(0, 1) < 1.0


def test_what_cannot_be_captured_is_an_error_and_the_stream_goes_on(device: Device) -> None:
    found = device.host_array((4,), np.uint8)
    found[:] = 7
    address = device.allocate(4)
    with pytest.raises(HideNerfError):
        device.capture(device.synchronize)
    device.download(found, address)
    device.synchronize()
    assert not found.any()
