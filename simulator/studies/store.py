"""Finished runs on disk: one file each, named by the hash of its spec; that a valid file is there is the only state.

A file is written under a temporary name, flushed to the disk and renamed, and carries a checksum of its contents. So a
process killed at any moment leaves whole files and perhaps a temporary one, which nobody reads; two processes that make
the same run write the same result. A trained network may have a file of the same name beside that of its run
(:mod:`simulator.studies.networks`).
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import platform
import secrets
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from simulator.specification import digest

FORMAT = 3
"""Version of the files' layout and of the numbers in them: raised when either changes."""


_MARKER = "store.json"


class StoreError(RuntimeError):
    """The store cannot be used; the message names the path and the remedy."""


class CorruptFileWarning(UserWarning):
    """A file of a run was damaged, has been put aside, and its run will be made again."""


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder of finished runs.

    Attributes:
        path: the folder; made when the first run is written.
    """

    path: pathlib.Path

    def open(self) -> None:
        """Make the folder and its marker, or check the one that is there.

        Raises:
            StoreError: another format, not a store, or not writable.
        """
        if self.check():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _write_atomically(self.path / _MARKER, json.dumps({"format": FORMAT}).encode())
        except OSError as error:
            raise _cannot("use the store", self.path, error) from error

    def check(self) -> bool:
        """Whether there is a store of this format; False where there is none yet. Changes nothing.

        Raises:
            StoreError: there is something else.
        """
        marker = self.path / _MARKER
        try:
            # Another process may be making the store just now: its temporary file is no reason to refuse.
            others = self.path.exists() and any(not p.name.startswith(_MARKER) for p in self.path.iterdir())
            if not marker.exists():
                if others:
                    raise StoreError(
                        f"{self.path} is neither empty nor a store of runs (it has no {_MARKER}): name another folder"
                    )
                return False
            found = json.loads(marker.read_text())["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{marker} is damaged ({error!r}): restore it, or name another folder") from error
        except OSError as error:
            raise _cannot("use the store", self.path, error) from error
        if found != FORMAT:
            raise StoreError(
                f"{self.path} was written in format {found!r}, this version reads and writes {FORMAT}: name another "
                "folder, or use the version that wrote it"
            )
        return True

    def file(self, spec: str, suffix: str = ".json") -> pathlib.Path:
        """Where the run of a spec is kept, or with another suffix what belongs to it. The spec's hash is the name."""
        name = digest(spec)
        return self.path / name[:2] / f"{name}{suffix}"

    def read(self, spec: str, *, put_aside: bool = True) -> dict[str, Any] | None:
        """The result of a run, or None if it is not there. A damaged file counts as absent and is put aside."""
        path = self.file(spec)
        data = self.read_bytes(path)
        if data is None:
            return None
        try:
            content = json.loads(data.decode())
            if content["checksum"] != _checksum(content["spec"], content["result"]):
                raise ValueError("its checksum does not match")
            if content["spec"] != spec:
                raise ValueError("it holds another spec")
            return content["result"]
        except (ValueError, KeyError, TypeError) as error:
            if put_aside:
                self.put_aside(path, error)
            return None

    def read_bytes(self, path: pathlib.Path) -> bytes | None:
        """What a file of the store holds, or None if it is not there."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot("read", path, error) from error

    def put_aside(self, path: pathlib.Path, error: Exception) -> None:
        """Rename a damaged file, so that it counts as absent, and warn."""
        aside = path.with_name(f"{path.name}.corrupt")
        try:
            path.replace(aside)
        except OSError as problem:
            raise _cannot("put aside the damaged file", path, problem) from problem
        warnings.warn(
            f"{path} is damaged ({error}); it was renamed to {aside.name} and the run will be made again",
            CorruptFileWarning,
            stacklevel=3,
        )

    def write(self, spec: str, result: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Keep a finished run. ``about`` records time and machine; it is no part of the result."""
        content = {
            "spec": spec,
            "result": dict(result),
            "checksum": _checksum(spec, result),
            "about": {**about, **_environment()},
        }
        self.write_bytes(self.file(spec), json.dumps(content, indent=1, allow_nan=False).encode())

    def write_bytes(self, path: pathlib.Path, data: bytes) -> None:
        """Write a file of the store, whole or not at all."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(path, data)
        except OSError as error:
            raise _cannot("write", path, error) from error


def _checksum(spec: str, result: Any) -> str:
    return digest(spec + json.dumps(result, sort_keys=True, allow_nan=False))


def _write_atomically(path: pathlib.Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _cannot(what: str, path: pathlib.Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot {what} {path}: {error.strerror or error}. Runs finished so far are kept; free space or name a "
        "writable folder, then run again to continue"
    )


@functools.cache
def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "jax": metadata.version("jax"),
        "machine": platform.machine(),
    }
