"""Says which tools this interpreter has, one JSON object a line.

Arguments: NAME=MODULE imports MODULE of the distribution NAME, since only an
import shows that it works; NAME looks for a program, or else a distribution.
"""
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys

# A directory beside this file must not pass for a package.
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

try:
    from importlib import metadata
except ImportError:
    sys.exit("Python %s is too old" % platform.python_version())

# What an import or a program prints must not get into the answer.
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**fact):
    print(json.dumps(fact), file=answer, flush=True)


def version_of(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def package(name, module):
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name == name:
            return {"missing": True, "error": "is not installed"}
        return {"error": "cannot be imported: %s" % e}
    except BaseException as e:
        return {"error": "cannot be imported: %s: %s" % (type(e).__name__, e)}
    return {"version": version_of(name)}


def program(name):
    beside = os.path.dirname(sys.executable)
    path = shutil.which(name) or shutil.which(name, path=beside)
    if path is None or os.path.dirname(path) == beside:
        version = version_of(name)
        if version:
            return {"version": version}
    if path is None:
        return {"missing": True, "error": "is not there"}
    try:
        done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        return {"error": "does not run: %s" % e}
    words = done.stdout.decode("utf-8", "replace").strip()
    numbers = [w.strip("()v,") for w in words.split() if w.strip("()v,")[:1].isdigit()]
    if done.returncode != 0 or not numbers:
        return {"error": "does not run: exit code %d: %s" % (done.returncode, words[-300:])}
    return {"version": numbers[0]}


say(name="python", version=platform.python_version(), path=sys.executable)
for argument in sys.argv[1:]:
    name, _, module = argument.partition("=")
    say(name=name, **(package(name, module) if module else program(name)))
