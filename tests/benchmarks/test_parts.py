"""A run in parts goes on where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parts import Part, run

if TYPE_CHECKING:
    from pathlib import Path


class Counted:
    """A part that counts how often it ran, and fails while it is told to."""

    def __init__(self, name: str, *, broken: bool = False) -> None:
        self.ran, self.broken = 0, broken
        self.part = Part(name, self.make)

    def make(self) -> dict[str, int]:
        self.ran += 1
        if self.broken:
            raise ValueError("no")
        return {"ran": self.ran}


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    one, two = Counted("one"), Counted("two", broken=True)
    first = run([two.part, one.part], tmp_path, key="a", fresh=False, say=print)
    assert first.results == {"one": {"ran": 1}}
    assert first.errors == {"two": "ValueError: no"}
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]
    two.broken = False
    second = run([two.part, one.part], tmp_path, key="a", fresh=False, say=print)
    assert second.results == {"one": {"ran": 1}, "two": {"ran": 2}}
    assert not second.errors
    assert (one.ran, two.ran) == (1, 2)


def test_another_key_fresh_and_half_a_file_make_it_anew(tmp_path: Path) -> None:
    one = Counted("one")
    for key, fresh in (("a", False), ("b", False), ("b", True)):
        run([one.part], tmp_path, key=key, fresh=fresh, say=print)
    assert one.ran == 3
    (tmp_path / "one.json").write_text('{"key": "b", "resu')
    assert run([one.part], tmp_path, key="b", fresh=False, say=print).results == {"one": {"ran": 4}}
