"""One process that has imported everything and forks a child for every `ifc-hf` or `python` command of a shell.

Importing takes longer than most documented commands. So the shells of `docs_blocks` find programs in their PATH that
only pass arguments, files and environment on to this process, and end with the exit code of its child. The program
(`python command_server.py`) prints that PATH and serves until its standard input is closed.
"""

import json
import os
import runpy
import socket
import stat
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

PRELOADED = ("ifc_hf.cli.main", "ifc_hf.model.pipeline_ifc", "ifc_hf.outputs.drawing", "ifc_hf.training", "datasets")
MESSAGE_BYTES = 1 << 20

CLIENT = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
connection.connect({address!r})
message = {{"program": {program!r}, "arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(connection, [json.dumps(message).encode()], [0, 1, 2])
sys.exit(int(connection.makefile().readline() or 1))
"""


@contextmanager
def command_server(folder: Path) -> Iterator[str]:
    """Imports, then starts the process; yields the PATH with which a shell uses it.

    Args:
        folder: For the programs and the socket; its path must be short, as a socket's address holds about 100 bytes.
    """
    for module in PRELOADED:
        import_module(module)
    address = str(folder / "socket")
    for program in ("ifc-hf", "python"):
        file = folder / program
        file.write_text(CLIENT.format(python=sys.executable, address=address, program=program))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen()
        server = os.fork()
        if server == 0:
            serve(listener)
        try:
            yield f"{folder}{os.pathsep}{os.environ['PATH']}"
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
                last.connect(address)  # a connection without a message ends it
            os.waitpid(server, 0)


def serve(listener: socket.socket) -> None:
    """Runs one command after the other; ends the process."""
    while True:
        connection, _ = listener.accept()
        with connection:
            text, files, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 3)
            if not text:
                os._exit(0)
            child = os.fork()
            if child == 0:
                os._exit(run_command(json.loads(text), files))
            for file in files:
                os.close(file)
            _, status = os.waitpid(child, 0)
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def run_command(message: dict, files: list[int]) -> int:
    """Runs a command with the shell's files, folder and environment in this process; returns its exit code."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(message["environment"])
    os.chdir(message["folder"])
    arguments = message["arguments"]
    try:
        if message["program"] == "ifc-hf":
            main = import_module("ifc_hf.cli.main").main
            sys.argv = ["ifc-hf", *arguments]
            sys.exit(main(arguments))
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(compile(arguments[1], "-c", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            runpy.run_path(arguments[0], run_name="__main__")
        code: object = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, command_server(Path(name)) as path:
        print(path, flush=True)
        sys.stdin.read()
