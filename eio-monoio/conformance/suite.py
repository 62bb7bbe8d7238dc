"""The Autobahn test suite for WebSockets: how it is installed, and what its reports say.

The suite is a Python 2.7 program, kept in a directory of its own below the build directory. Who cannot install
it is told so; with CI=true that is a failure, never a silent pass.
"""

import glob
import json
import os
import shutil
import subprocess
import sys

VERSION = "25.10.1"

# Framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing, limits, misc.
GROUPS = [1, 2, 3, 4, 5, 6, 7, 9, 10]
# Where the suite itself says that either behaviour conforms.
PASS = ("OK", "NON-STRICT", "INFORMATIONAL")
PASS_CLOSE = ("OK", "INFORMATIONAL")


def cannot(why):
    """Ends the run: nothing was tested."""
    print("SKIPPED: conformance: " + why, flush=True)
    sys.exit(1 if os.environ.get("CI") == "true" else 0)


def build_directory():
    here = os.path.dirname(os.path.abspath(__file__))
    default = os.path.join(here, "..", "..", "target")
    return os.path.abspath(os.environ.get("CARGO_TARGET_DIR", default))


def find_python2():
    candidates = [os.environ.get("PYTHON2"), shutil.which("python2.7"), shutil.which("python2"), shutil.which("pypy")]
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    candidates += sorted(glob.glob(os.path.join(root, "versions", "2.7.*", "bin", "python2.7")))
    for python in filter(None, candidates):
        asked = subprocess.run([python, "-c", "import sys; print(sys.version_info[0])"], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.strip() == "2":
            return python
    if shutil.which("pyenv"):
        print("installing Python 2.7 by pyenv", flush=True)
        if subprocess.run(["pyenv", "install", "--skip-existing", "2.7.18"]).returncode == 0:
            return os.path.join(root, "versions", "2.7.18", "bin", "python2.7")
    return None


class Suite:
    """An installed suite."""

    def __init__(self):
        self.python = find_python2() or cannot("no Python 2.7; name one by PYTHON2, or install pyenv")
        home = os.path.join(build_directory(), "autobahn-" + VERSION)
        self.environment = dict(os.environ, PYTHONUSERBASE=home, PYTHONDONTWRITEBYTECODE="1")
        if self.run("import zope.interface, autobahntestsuite.wstest", capture_output=True).returncode != 0:
            self.install()

    def install(self):
        print("installing autobahntestsuite " + VERSION, flush=True)
        pip = ["-m", "pip", "install", "--quiet", "--user", "--disable-pip-version-check", "--no-warn-script-location"]
        command = [self.python, *pip, "autobahntestsuite==" + VERSION]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            cannot("autobahntestsuite cannot be installed: " + done.stderr.strip()[-500:])

    def command(self, *arguments):
        """The command line of `wstest`."""
        return [self.python, "-c", "from autobahntestsuite.wstest import run; run()", *arguments]

    def run(self, code, **options):
        return subprocess.run([self.python, "-c", code], env=self.environment, **options)


def cases(groups=GROUPS):
    return ["%d.*" % group for group in groups]


def judge(directory, expected, most_non_strict=2, most_informational=3):
    """Prints what a directory of reports says; true if all cases ran and conformed."""
    with open(os.path.join(directory, "index.json")) as file:
        agents = json.load(file)
    verdicts = {"OK": 0, "NON-STRICT": 0, "INFORMATIONAL": 0, "FAILED": 0}
    for results in agents.values():
        for case, result in sorted(results.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
            behaviour, close = result["behavior"], result["behaviorClose"]
            passed = behaviour in PASS and close in PASS_CLOSE
            verdicts[behaviour if passed else "FAILED"] += 1
            if not passed or behaviour != "OK":
                print("%-10s %s, closing %s" % (case, behaviour, close))
    passed = sum(verdicts.values()) - verdicts["FAILED"]
    print("autobahn: %d of %d passed, of these %d non-strict and %d informational" % (
        passed, expected, verdicts["NON-STRICT"], verdicts["INFORMATIONAL"]), flush=True)
    lenient = verdicts["NON-STRICT"] > most_non_strict or verdicts["INFORMATIONAL"] > most_informational
    return passed == expected and verdicts["FAILED"] == 0 and not lenient
