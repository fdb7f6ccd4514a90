import os

_current = 0


def getDeviceCount():
    return int(os.environ.get("FAKE_GPUS", "1"))


def getDevice():
    return _current


def setDevice(device):
    global _current
    _current = device
