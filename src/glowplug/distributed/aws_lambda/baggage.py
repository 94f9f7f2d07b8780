"""What a run's functions read and write in an object store: orders, parts, inputs, the result, and what each
worker said in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from glowplug.distributed.channels.blobs import Blobs, Range
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.deploying import Deployed
from glowplug.distributed.errors import PlatformMissing, RunExists
from glowplug.distributed.orders import Orders, part_name, read_orders, write_orders
from glowplug.distributed.platform_line import Failure, Response
from glowplug.distributed.schedule import parts_of
from glowplug.distributed.start import Place

_PIECE_BYTES = 32 * 2**20
_ORDERS, _INPUTS, _RESULT, _WORDS, _ROLL = "orders.json", "inputs.npy", "result.npy", "words", "roll.json"


class Word(msgspec.Struct, frozen=True):
    """What a worker says in the end, after so long; None is of one that stayed for others, when it leaves."""

    place: Place
    told: Response | Failure | None
    ran_s: float


class Roll(msgspec.Struct, frozen=True):
    """Who is to run: those of an epoch, of each worker this incarnation, or its first. `token` is of this
    run alone: who was called by an earlier one of its name is not meant."""

    epoch: int = 0
    incarnations: dict[int, int] = {}
    token: str = ""

    def has(self, place: Place) -> bool:
        """Whether nobody has taken over for it."""
        return (place.epoch, place.incarnation) >= (self.epoch, self.incarnations.get(place.worker, 0))


class Baggage:
    """That of one run, which its `token` tells from an earlier one of its name."""

    def __init__(self, blobs: Blobs, run: str, token: str = "") -> None:
        self._blobs, self._folder, self._token = blobs, f"lambda-{run}", token
        self._orders = b""

    def bring(self, deployed: Deployed) -> None:
        """Whoever starts the run brings it all, a file at a time in memory. Raises RunExists where another
        run of its name has its own there. What it brought until it was interrupted is removed."""
        # Readers pass over the token, by which a run knows its own.
        signed = msgspec.json.decode(deployed.path.read_bytes()) | {"brought_by": self._token}
        self._orders = msgspec.json.encode(signed)
        try:
            self._bring(deployed)
        except BaseException:
            with suppress(Exception):
                if self._are_there():
                    self.remove()
            raise

    def _bring(self, deployed: Deployed) -> None:
        orders = deployed.orders
        if not (self._blobs.create(self._key(_ORDERS), self._orders) or self._are_there()):
            raise RunExists(f"run {orders.run!r} is open in this store: end it, or use another name")
        self.call(Roll())
        self._blobs.put([(self._key(_INPUTS), Path(orders.inputs).read_bytes())])
        for path in sorted(Path(orders.parts).iterdir()):
            self._blobs.put([(self._key(f"parts/{path.name}"), path.read_bytes())])

    def _are_there(self) -> bool:
        """Whether the orders there are this run's. A store whose answer was lost is asked again, and then
        says of our own that there are some."""
        there = self._blobs.get([Range(self._key(_ORDERS), 0, len(self._orders))])
        return there == [self._orders]

    def fetch(self, worker: int, folder: Path) -> Orders:
        """A worker takes what it needs into `folder`, which is empty; the orders are about what lies there.
        Raises PlatformMissing where the run is over."""
        self._take(_ORDERS, folder / _ORDERS)
        orders = read_orders(folder / _ORDERS)
        self._take(_INPUTS, folder / _INPUTS)
        (folder / "parts").mkdir()
        for partition, role in parts_of(orders, worker):
            name = part_name(partition, role)
            self._take(f"parts/{name}", folder / "parts" / name)
        orders = msgspec.structs.replace(
            orders, inputs=str(folder / _INPUTS), parts=str(folder / "parts"), result=str(folder / _RESULT)
        )
        write_orders(orders, folder / _ORDERS)
        return orders

    def give_result(self, path: Path) -> None:
        self._blobs.put([(self._key(_RESULT), path.read_bytes())])

    def take_result(self, path: Path) -> None:
        self._take(_RESULT, path)

    def call(self, roll: Roll) -> None:
        roll = msgspec.structs.replace(roll, token=self._token)
        self._blobs.put([(self._key(_ROLL), msgspec.json.encode(roll))])

    def let_go(self) -> None:
        """Of all: nobody is wanted any more."""
        self._blobs.delete([self._key(_ROLL)])

    def wants(self, place: Place) -> bool:
        """Whether the run is not over, and nobody has taken over for it."""
        (found,) = self._blobs.get([Range(self._key(_ROLL), 0, _PIECE_BYTES)])
        if found is None:
            return False
        roll = msgspec.json.decode(found, type=Roll)
        return roll.token == self._token and roll.has(place)

    @property
    def meter(self) -> Meter:
        return self._blobs.meter

    def beat(self, place: Place, number: int) -> None:
        self._blobs.put([(self._beat(place), str(number).encode())])

    def beats(self, places: Collection[Place]) -> dict[Place, bytes | None]:
        """The last of each; None where there was none."""
        wanted = list(places)
        found = self._blobs.get([Range(self._beat(place), 0, _PIECE_BYTES) for place in wanted])
        return dict(zip(wanted, found, strict=True))

    def _beat(self, place: Place) -> str:
        return self._key(f"beats/{place.epoch}-{place.worker}-{place.incarnation}")

    def say(self, word: Word) -> None:
        place = word.place
        left = "-left" if word.told is None else ""
        name = f"{_WORDS}/{place.epoch}-{place.worker}-{place.incarnation}{left}.json"
        self._blobs.put([(self._key(name), msgspec.json.encode(word))])

    def words(self, heard: set[str]) -> list[Word]:
        """What was said since, who left after what he told; adds to `heard`."""
        names = [name for name in self._blobs.list(self._key(_WORDS)) if name not in heard]
        heard.update(names)
        contents = self._blobs.get([Range(name, 0, _PIECE_BYTES) for name in names]) if names else []
        found = [msgspec.json.decode(content, type=Word) for content in contents if content]
        # Stores list in an order of their own: by bytes that of who left comes first.
        return sorted(found, key=lambda word: word.told is None)

    def remove(self) -> None:
        """The orders last, so that the name is taken until nothing else is there."""
        orders = self._key(_ORDERS)
        self._blobs.clear(self._folder, but=orders)
        self._blobs.delete([orders])

    def _take(self, name: str, path: Path) -> None:
        with path.open("wb") as file:
            for piece in self._pieces(name):
                file.write(piece)

    def _pieces(self, name: str) -> Iterator[bytes]:
        start = 0
        while True:
            (piece,) = self._blobs.get([Range(self._key(name), start, _PIECE_BYTES)])
            if piece is None:
                raise PlatformMissing(f"{self._key(name)} is not in the store: the run is over, or never was")
            yield piece
            start += len(piece)
            if len(piece) < _PIECE_BYTES:
                return

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"
