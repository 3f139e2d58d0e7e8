"""The frame of the programs here that start servers themselves: suites, jetstream, system, rolling."""

import argparse
import contextlib
import itertools
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
INTO = HERE.parent.parent / "target" / "interop"
NATS_SERVER = INTO / "server" / "bin" / "nats-server"

EXIT_TIMEOUT_S = 20


def program():
    """The program that `--server` names."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--server", required=True)
    return Path(shutil.which(arguments.parse_args().server) or sys.exit("no such program"))


def free_ports(count):
    """Ports below the range from which the system gives some to connections: they stay free while a
    server is restarted."""
    numbers = random.sample(range(10_000, 32_768), 100)
    return list(itertools.islice(filter(is_free, numbers), count))


def is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def running(name, programs, conf):
    """Runs these programs, which end with the scene. `conf` makes the configuration of each, by its
    place among them and a folder for its files; `name` is that of the logs."""
    servers = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for at, executable in enumerate(programs):
                file = Path(folder) / f"{at}.conf"
                file.write_text(conf(at, folder))
                servers.append(start(name, at, [executable, "-c", file], "w"))
            yield servers
        finally:
            stop(servers)


def start(name, at, command, mode):
    with (INTO / "logs" / f"{name}-{at}.log").open(mode) as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def restart(name, servers, at):
    """Starts one that has ended again."""
    servers[at] = start(name, at, servers[at].args, "a")


def stop(servers):
    for server in servers:
        server.terminate()
    deadline = time.monotonic() + EXIT_TIMEOUT_S
    for server in servers:
        try:
            server.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
