"""A check of a pickle of tensors, made without loading it.

``torch.load(weights_only=True)`` runs no code of a file, but takes as much memory and time as the file asks for: it makes
byte strings of any length, copies containers as often as it is told to, and makes tensors of kinds that fail later. Here
the instructions of a pickle are followed with stand-ins for the objects that they would make. Only the instructions that
``torch.save`` writes for plain tensors in dicts, lists and tuples are allowed, and only about three times as many as in the
largest published file.
"""

from __future__ import annotations

import pickletools
from typing import IO, Any, NamedTuple

MAX_INSTRUCTIONS = 300_000  # ODConv-ResNet-101 (2x) with its optimiser has 114,000
MAX_ATTRIBUTES = 100  # dicts that are copied into attributes; a state dict has one
MAX_DIMENSIONS = 8
MAX_KEY = 2**31  # of a dict, where it is a number: larger ones can be chosen so that dicts become slow

ORDERED_DICT = "collections OrderedDict"
REBUILDS = {"torch._utils _rebuild_tensor_v2": 6, "torch._utils _rebuild_tensor": 4}  # -> number of arguments
REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
ITEM_BYTES = {
    "torch DoubleStorage": 8,
    "torch FloatStorage": 4,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch LongStorage": 8,
    "torch IntStorage": 4,
    "torch ShortStorage": 2,
    "torch CharStorage": 1,
    "torch ByteStorage": 1,
    "torch BoolStorage": 1,
    "torch ComplexFloatStorage": 8,
    "torch ComplexDoubleStorage": 16,
}
NAMES = {ORDERED_DICT, REBUILD_PARAMETER, *REBUILDS, *ITEM_BYTES}


class ForbiddenError(ValueError):
    """A pickle asks for something that plain tensors do not need."""


class TooLongError(ValueError):
    """A pickle has more instructions than that of any known network."""


class _Name(NamedTuple):
    path: str  # module and name, with a blank between


class _Storage(NamedTuple):
    items: int


class _Ordered(NamedTuple):
    """An OrderedDict."""


class _Tensor(NamedTuple):
    """A tensor or parameter."""


class PickleCheck:
    """Checks the pickles of one file, which share one budget.

    Attributes:
        storages: name of each storage that they ask for -> its size in bytes.
    """

    def __init__(self) -> None:
        self.storages: dict[str, int] = {}
        self._left = MAX_INSTRUCTIONS
        self._attributes_left = MAX_ATTRIBUTES

    def walk(self, stream: IO[bytes]) -> None:
        """Walk through the next pickle of ``stream``, and leave ``stream`` at the pickle's end.

        Raises:
            ForbiddenError: it asks for something that plain tensors do not need.
            TooLongError: it has too many instructions, or the pickles before it had.
            ValueError, IndexError, KeyError, TypeError: it is damaged.
        """
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[Any, Any] = {}

        def pop_mark() -> list[Any]:
            start = marks.pop()
            items = stack[start:]
            del stack[start:]
            return items

        for opcode, argument, _ in pickletools.genops(stream):
            self._left -= 1
            if self._left < 0:
                raise TooLongError
            match opcode.name:
                case "PROTO" | "STOP":
                    pass
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                    stack.append(argument)
                case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_DICT" | "EMPTY_LIST":
                    stack.append(None)
                case "GLOBAL":
                    if argument not in NAMES:
                        raise ForbiddenError(argument)
                    stack.append(_Name(argument))
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "MARK":
                    marks.append(len(stack))
                case "EMPTY_TUPLE":
                    stack.append(())
                case "TUPLE":
                    stack.append(tuple(pop_mark()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    stack.append(tuple(_pop(stack, int(opcode.name[-1]))))
                case "APPEND":
                    _pop(stack, 1)
                case "APPENDS":
                    pop_mark()
                case "SETITEM":
                    _check_keys(_pop(stack, 2)[:1])
                case "SETITEMS":
                    _check_keys(pop_mark()[::2])
                case "BINPERSID":
                    stack.append(self._storage(stack.pop()))
                case "REDUCE":
                    name, arguments = _pop(stack, 2)
                    stack.append(_call(name, arguments))
                case "BUILD":
                    _pop(stack, 1)
                    self._attributes_left -= 1
                    if not isinstance(stack[-1], _Ordered) or self._attributes_left < 0:
                        raise ForbiddenError(opcode.name)
                case _:
                    raise ForbiddenError(opcode.name)

    def _storage(self, key: Any) -> _Storage:
        """The stand-in for a storage; ``key``: ("storage", kind, name, device, items), and in older files None."""
        kind, name, items = key[1], key[2], key[4]
        known = isinstance(kind, _Name) and kind.path in ITEM_BYTES and isinstance(name, str)
        if not (key[0] == "storage" and known and type(items) is int and items >= 0 and key[5:] in ((), (None,))):
            raise ForbiddenError("BINPERSID")
        self.storages[name] = max(self.storages.get(name, 0), items * ITEM_BYTES[kind.path])
        return _Storage(items)


def _pop(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise IndexError
    items = stack[-count:]
    del stack[-count:]
    return items


def _check_keys(keys: list[Any]) -> None:
    """Refuse keys other than text and small whole numbers: a nested tuple can take forever to hash."""
    for key in keys:
        if not (isinstance(key, str) or (type(key) is int and -MAX_KEY <= key < MAX_KEY)):
            raise ForbiddenError("key")


def _call(name: Any, arguments: Any) -> Any:
    """The stand-in for what a call returns."""
    path = name.path if isinstance(name, _Name) else ""
    if path == ORDERED_DICT and arguments == ():
        return _Ordered()
    if path == REBUILD_PARAMETER and len(arguments) == 3 and isinstance(arguments[0], _Tensor):
        return _Tensor()
    if path in REBUILDS and len(arguments) == REBUILDS[path]:
        _check_inside(*arguments[:4])
        return _Tensor()
    raise ForbiddenError(path)


def _check_inside(storage: Any, offset: Any, size: Any, stride: Any) -> None:
    """Check that a tensor lies inside its storage."""
    lengths = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= MAX_DIMENSIONS
    if not (isinstance(storage, _Storage) and lengths):
        raise ForbiddenError("tensor")
    if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
        raise ValueError("no such shape")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if all(size) and last >= storage.items:
        raise ValueError("outside of its storage")
