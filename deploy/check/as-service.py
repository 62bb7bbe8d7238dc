#!/usr/bin/python3
"""Runs a program as systemd would run it for a unit, as far as that works without systemd: its system-call filter, its
limits, no new privileges, an unprivileged user.

usage: deploy/check/as-service.py UNIT PROGRAM [ARGUMENT ...]

Needs Debian's python3-seccomp and systemd (for `systemd-analyze`), and root to change the user.
"""

import ctypes
import os
import resource
import subprocess
import sys

import seccomp

NOBODY = 65534
PR_SET_NO_NEW_PRIVS = 38
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LIMITS = {"LimitNOFILE": resource.RLIMIT_NOFILE, "LimitMEMLOCK": resource.RLIMIT_MEMLOCK}
# Calls that systemd adds to each list of permitted calls: systemd.exec(5), SystemCallFilter=.
IMPLICIT = ["@default", "execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn"]


def settings(unit):
    with open(unit) as lines:
        for line in lines:
            name, separator, value = line.strip().partition("=")
            if separator and not name.startswith("#"):
                yield name, value


def expand(name):
    """The calls of a group; groups contain groups."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True)
    members = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*(expand(member) for member in members if member and not member.startswith("#")))


def permitted(unit):
    calls = set().union(*map(expand, IMPLICIT))
    for name, value in settings(unit):
        if name == "SystemCallFilter":
            named = set().union(*map(expand, value.lstrip("~").split()))
            calls = calls - named if value.startswith("~") else calls | named
    return calls


def limit(unit):
    for name, value in settings(unit):
        if name in LIMITS:
            number = int(value.rstrip("KMG")) * SIZES.get(value[-1], 1)
            # A container may have a lower hard limit, which only root may raise.
            _, hard = resource.getrlimit(LIMITS[name])
            number = number if hard == resource.RLIM_INFINITY else min(number, hard)
            resource.setrlimit(LIMITS[name], (number, number))


def main():
    unit, command = sys.argv[1], sys.argv[2:]
    rules = seccomp.SyscallFilter(seccomp.ERRNO(1))
    for call in permitted(unit):
        try:
            rules.add_rule(seccomp.ALLOW, call)
        except (RuntimeError, ValueError):
            pass  # a call of another architecture
    limit(unit)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError("no_new_privs is refused")
    rules.load()
    os.execv(command[0], command)


main()
