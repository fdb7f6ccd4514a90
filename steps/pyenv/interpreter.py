"""Prints what step-runner needs to know about the interpreter that runs it."""
import json
import os
import platform
import re
import sys
import sysconfig

try:
    from importlib import metadata
except ImportError:
    sys.exit("Python %s is too old: 3.8 or later is needed" % platform.python_version())

dists, editable = {}, {}
for dist in metadata.distributions():
    name = dist.metadata["Name"]
    if not name:
        continue  # The remains of a removed package.
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name in dists:
        continue  # Shadowed: the first one on the path is the one imported.
    dists[name] = dist.version
    url = json.loads(dist.read_text("direct_url.json") or "{}")
    if url.get("dir_info", {}).get("editable"):
        editable[name] = {
            "info": str(getattr(dist, "_path", "")),
            "files": [str(f) for f in dist.files or []],
        }

json.dump(
    {
        "executable": sys.executable,
        "base": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
        "is_venv": sys.prefix != sys.base_prefix,
        "version": platform.python_version(),
        "platform": " ".join(
            [
                sys.implementation.name,
                sysconfig.get_platform(),
                sysconfig.get_config_var("SOABI") or "",
                "".join(platform.libc_ver()),
            ]
        ),
        "purelib": sysconfig.get_path("purelib"),
        "packages": dists,
        "editable": editable,
    },
    sys.stdout,
)
