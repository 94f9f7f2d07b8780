"""Objects that exist in virtual time, found by their folders."""

from __future__ import annotations


class VirtualStore:
    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._below: dict[str, dict[str, None]] = {}
        """The paths directly below each folder, in the order in which they came."""

    def get(self, key: str) -> bytes | None:
        return self._contents.get(key)

    def put(self, key: str, content: bytes) -> None:
        if key not in self._contents:
            path = key
            while path and path not in self._below.setdefault(_folder(path), {}):
                self._below[_folder(path)][path] = None
                path = _folder(path)
        self._contents[key] = content

    def delete(self, key: str) -> None:
        if self._contents.pop(key, None) is None:
            return
        path = key
        while path and not self._below.get(path):
            self._below.pop(path, None)
            self._below[_folder(path)].pop(path)
            path = _folder(path)

    def keys(self, folder: str = "") -> list[str]:
        found: list[str] = []
        for path in self._below.get(folder, {}):
            found += [path] if path in self._contents else self.keys(path)
        return found


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
