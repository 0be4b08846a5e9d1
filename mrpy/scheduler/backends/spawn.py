"""Starting a worker process: a fresh interpreter, its two sockets, the pipe for its claims, and the file for
its last stack.

Nothing else is in here, and little is imported, for the sake of `ahead`: the very first worker of a script is
started before most of mrpy is imported, and boots beside that on another processor. Whoever needs a worker
next takes that one.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
from _socket import AF_UNIX, SOCK_STREAM, socketpair

from mrpy.light import TYPE_CHECKING, signal
from mrpy.scheduler.backends.claims import Claims
from mrpy.scheduler.backends.frozen import WORKER, is_frozen, is_python
from mrpy.scheduler.backends.last_stack import LastStack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
HOME = os.path.dirname(_PACKAGE)  # the folder that holds the package
_BOOT = (  # nothing is garbage until a worker is up: to look for it would take a tenth of the imports
    "import gc, sys; gc.disable(); sys.path.append({home!r}); "
    "from mrpy.scheduler.backends.worker_main import main; main{told}"
)
NOT_KNOWN = 256  # an exit code that there is not
THREAD_COUNTS = (  # what libraries with threads of their own obey, if it is set when they are loaded
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "BLOSC_NTHREADS", "TIFFFILE_NUM_THREADS",
)  # fmt: skip
HASH_SEED = "PYTHONHASHSEED"
_seed = os.environ.get(HASH_SEED, "")  # of the workers of this process, whatever is said later
if _seed in ("", "random"):
    _seed = str(int.from_bytes(os.urandom(4), "big") or 1)  # 0 would be no secret


class Process:
    """A child process, and its end. As `subprocess.Popen`, whose import alone takes 4 ms."""

    __slots__ = ("_code", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, the negative number of the signal that killed it, or None while it lives.
        `NOT_KNOWN` where somebody else has waited for it, or nobody may (SIGCHLD is ignored)."""
        return self._ask(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; the same."""
        code = self._ask(0)
        assert code is not None
        return code

    def _ask(self, how: int) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, how)
            except ChildProcessError:
                self._code = NOT_KNOWN
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


class Spawned:
    """A worker process that nobody talks to yet. Raises OSError where it cannot be started."""

    def __init__(self, threads: int) -> None:
        take_standard()
        self.sock, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        self.lifeline, line = socketpair(AF_UNIX, SOCK_STREAM)
        self.stack = LastStack()
        try:
            self.claims = Claims()
        except OSError:
            self.stack.close()
            raise
        shared = self.claims.fd, self.stack.fd
        try:
            self.process = Process(_start((theirs.fileno(), line.fileno(), *shared), threads))
            for fd in shared:
                os.set_inheritable(fd, False)  # else it outlives an `os.execv` of ours
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()
            line.close()

    def close(self) -> None:
        """Give back the descriptors. The worker, if alive, is killed by the kernel."""
        self.sock.close()
        self.lifeline.close()
        self.claims.close()
        self.stack.close()


def take_standard() -> None:
    """See that the numbers of the standard streams are taken, before descriptors of ours are made. Where such
    a stream is closed, what C code or a program prints would go into what has its number then."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # it stays open
    os.close(fd)


def _start(fds: tuple[int, int, int, int], threads: int) -> int:
    """Start a fresh interpreter: not a fork, since the user's process may have threads and locks."""
    program = interpreter()
    for fd in fds:
        os.set_inheritable(fd, True)  # others that inherit one by chance close it, or do no harm with it
    seed = os.environ.get(HASH_SEED)
    ours = sys.flags.no_site, sys.flags.safe_path, sys.prefix, sys.exec_prefix, seed, _is_customized()
    arguments, around = [program], environment(dict.fromkeys(THREAD_COUNTS, str(_most(threads))))
    if is_frozen():
        around[WORKER] = repr((*fds, ours))
    else:
        arguments += [*_flags(), "-S", "-P", "-c", _BOOT.format(home=HOME, told=(*fds, ours))]
    streams = [fd for fd in range(3) if fd == 0 or not os.get_inheritable(fd)]  # it has no input of ours
    return os.posix_spawn(
        program,
        arguments,
        around,
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in streams],
        setsid=True,
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which this interpreter ignores
    )


def interpreter() -> str:
    """What runs Python here. Where that is embedded (uWSGI, say) ``sys.executable`` names the program around
    it; the interpreter of the same installation, or virtual environment, does then."""
    if not sys.executable:
        raise FileNotFoundError(errno.ENOENT, "sys.executable names no interpreter, as where one is embedded")
    if is_frozen() or is_python(sys.executable):
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = os.path.join(sys.exec_prefix, "bin", name)
    return found if os.access(found, os.X_OK) else sys.executable


def environment(defaults: dict[str, str]) -> dict[str, str]:
    """That of a worker: ours; and where each would hash strings in its own way, all do it in one."""
    return {**defaults, **os.environ, HASH_SEED: _seed}


def _is_customized() -> bool:
    """Whether somebody has set up something for every interpreter, which is then there first."""
    modules = map(sys.modules.get, ("sitecustomize", "usercustomize"))
    return not sys.flags.no_site and any(map(_sets_up, modules))


def _sets_up(module: ModuleType | None) -> bool:
    """Debian has one for every Python that does nothing as a rule, and to run ``site`` takes 13 ms."""
    if module is None:
        return False
    theirs = os.path.dirname(getattr(module, "__file__", None) or "") != os.path.dirname(os.__file__)
    return theirs or any(not name.startswith("__") for name in vars(module))


def _most(threads: int) -> int:
    """So many, or fewer where the environment says so for all: a library looks at its own variable first."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(threads, int(said)) if said.isdigit() and int(said) > 0 else threads


def _flags() -> Sequence[str]:
    """The flags of this interpreter; what was said in the environment is there for the worker too."""
    first = "".join(sys.orig_argv[1:2])
    if sys.orig_argv and (not first.startswith("-") or first in ("-", "-c", "-m")):
        return ()
    import subprocess  # only for those who gave flags

    flags: Sequence[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return flags


# ---- the first worker of a script ----------------------------------------------------------------------

_ahead: list[tuple[tuple[int, dict[str, str]], Spawned]] = []  # with what it was started for


def ahead(threads: int) -> None:
    """Start a worker now for whoever asks for one next. One at a time."""
    try:
        if not _ahead:
            _ahead.append((_wanted(threads), Spawned(threads)))
    except OSError:  # whoever needs it will see why
        pass


def spawned(threads: int) -> Spawned:
    """A worker process: the one that was started ahead, if it is as one would be now, or a new one."""
    wanted = _wanted(threads)
    try:
        was_for, there = _ahead.pop()  # in one step: others may ask at the same time
    except IndexError:
        return Spawned(threads)
    if was_for == wanted:
        return there
    _end(there)
    return Spawned(threads)


def _wanted(threads: int) -> tuple[int, dict[str, str]]:
    return threads, dict(os.environ)


def _end(unused: Spawned) -> None:
    if unused.process.poll() is None:  # else its number may be another's by now
        os.killpg(unused.process.pid, signal.SIGKILL)
        unused.process.wait()
    unused.close()


def _end_all() -> None:
    """Nobody asked for it."""
    while _ahead:
        _end(_ahead.pop()[1])


def _let_go_after_fork() -> None:
    """As in ``worker_handle.py``."""
    while _ahead:
        _ahead.pop()[1].close()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_let_go_after_fork)
