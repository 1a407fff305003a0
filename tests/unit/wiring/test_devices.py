import ctypes
import os

import pytest

from covnode.errors import ConfigurationError
from covnode.sections import WorkerSettings
from covnode.settings import parse_settings
from covnode.wiring import devices
from covnode.wiring.devices import devices_of, threads_of


def test_the_settings_name_the_devices():
    assert devices_of(WorkerSettings(devices=("cuda:1", "cpu"))) == ("cuda:1", "cpu")


def test_without_a_driver_there_is_one_worker_on_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "_DRIVER", "libabsent.so.1")
    monkeypatch.setattr(devices, "_COUNT", "raise SystemExit('torch must not be asked')")
    assert devices_of(WorkerSettings()) == ("cpu",)


@pytest.mark.parametrize(("count", "expected"), [(2, ("cuda:0", "cuda:1")), (0, ("cpu",))])
def test_with_a_driver_torch_says_how_many_devices_there_are(monkeypatch, count, expected):
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: None)
    monkeypatch.setattr(devices, "_COUNT", f"print({count})")
    assert devices_of(WorkerSettings()) == expected


def test_a_torch_that_does_not_answer_is_no_cpu(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: None)
    monkeypatch.setattr(devices, "_COUNT", "raise SystemExit(1)")
    with pytest.raises(ConfigurationError, match=r"name them in worker\.devices"):
        devices_of(WorkerSettings())


def test_the_cores_are_shared_by_the_workers():
    cores = os.cpu_count() or 1
    assert threads_of(WorkerSettings(), 1) == cores
    assert threads_of(WorkerSettings(), 4 * cores) == 1
    assert threads_of(WorkerSettings(threads=3), 4) == 3


@pytest.mark.parametrize("wrong", ['["cuda"]', '["gpu"]', '["cpu", "cpu"]', '["cuda:0", "cuda:0"]'])
def test_a_device_has_one_name_and_one_worker(wrong):
    with pytest.raises(ConfigurationError, match=r"worker\.devices"):
        parse_settings(f"[worker]\ndevices = {wrong}\n", "x")
