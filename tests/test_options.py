"""Options: every value is checked, once, with an error that names it; the command line has the same bounds."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
import pytest

from qa_onnx import InputError, Options
from qa_onnx.cli import main
from qa_onnx.export.settings import EXPORT_BOUNDS
from qa_onnx.options import BOUNDS, CALL_OPTIONS, check_bounds

# Options of the command line under other names than in the table.
NAMES = {
    ("serve", "workers"): "processes",
    ("map", "workers"): None,  # of a cluster
    ("train", "batch_tokens"): None,
    ("export", "max_length"): None,  # see below
}


def numbers() -> list[tuple[str, click.Option]]:
    """The numeric options of all commands that have bounds in the table."""
    context = click.Context(main)
    found = []
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        found += [
            (name, option)
            for option in command.params
            if isinstance(option, click.Option) and NAMES.get((name, str(option.name)), option.name) in BOUNDS
        ]
    return found


@pytest.mark.parametrize(("command", "option"), numbers(), ids=lambda value: getattr(value, "name", value))
def test_an_option_of_the_command_line_has_the_bounds_of_the_table(command: str, option: click.Option) -> None:
    bounds = BOUNDS[NAMES.get((command, str(option.name)), str(option.name)) or ""]
    assert isinstance(option.type, (click.IntRange, click.FloatRange))
    assert (option.type.min, option.type.max) == bounds


def test_export_has_the_bounds_of_its_own_table() -> None:
    command = main.get_command(click.Context(main), "export")
    assert command is not None
    types = {option.name: option.type for option in command.params}
    for name, bounds in EXPORT_BOUNDS.items():
        kind = types[name]
        assert isinstance(kind, click.IntRange)
        assert (kind.min, kind.max) == bounds


def test_the_command_line_has_such_options() -> None:
    assert {"threads", "n_best", "max_queue", "timeout_s", "doc_stride"} <= {
        option.name for _, option in numbers()
    }


@pytest.mark.parametrize("name", sorted(BOUNDS.keys() & {field.name for field in dataclasses.fields(Options)}))
def test_options_follow_the_table(name: str) -> None:
    low, high = BOUNDS[name]
    wanted = "an integer" if isinstance(low, int) else "a number"
    assert getattr(Options(**{name: low}), name) == low  # type: ignore[arg-type]
    for value in (low - 1, high + 1, 16.0, "16", True):
        with pytest.raises(InputError, match=f"{name} is {value!r}; it must be {wanted} from {low} to {high}"):
            Options(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("inf"), -0.1, 10**400])
def test_what_is_no_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"max_wait_ms is .* it must be a number from 0\.0 to 60000\.0"):
        check_bounds("max_wait_ms", value)


def test_an_integer_is_a_number() -> None:
    check_bounds("max_wait_ms", 3)


def test_the_defaults_leave_room_for_a_context() -> None:
    assert Options().room(special_tokens=3) == 384 - 64 - 3


def test_options_are_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().n_best = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Options(384)  # type: ignore[call-arg]


def test_a_question_may_have_any_length() -> None:
    assert Options(max_question_length=None).room(special_tokens=3) == 384 - 3


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_align_to_words_is_true_or_false(value: Any) -> None:
    with pytest.raises(InputError, match=f"align_to_words is {value!r}; it must be True or False"):
        Options(align_to_words=value)


@pytest.mark.parametrize("value", [0, 0.0, -3.5, float("inf"), float("-inf"), None, "bundle"])
def test_null_threshold_takes_numbers_none_and_bundle(value: Any) -> None:
    assert Options(null_threshold=value).null_threshold == value


@pytest.mark.parametrize("value", [float("nan"), "off", True, [], b"bundle"])
def test_null_threshold_refuses_anything_else(value: Any) -> None:
    with pytest.raises(InputError, match="null_threshold is"):
        Options(null_threshold=value)


@pytest.mark.parametrize("doc_stride", [0, 7, 20])
def test_room_must_be_more_than_the_overlap(doc_stride: int) -> None:
    options = Options(max_length=40 + doc_stride, max_question_length=36, doc_stride=doc_stride)
    assert options.room(special_tokens=3) == doc_stride + 1
    with pytest.raises(InputError, match=f"leaves {doc_stride} tokens .* more than doc_stride {doc_stride}"):
        options.room(special_tokens=4)


def test_the_client_names_the_options_that_a_request_may_change() -> None:
    messages = pytest.importorskip("qa_onnx.client.messages", reason="needs qa-onnx[client]")
    assert set(messages.AskOptions.__annotations__) == set(CALL_OPTIONS)
