"""`qa-onnx completion`: scripts that complete commands, options and their values in bash, zsh and fish.

    options of every command, as click holds them -> a script with all words in it

Completing starts no Python, so it takes no time; after an update of qa-onnx the script is written anew. click has
scripts too, but they start the program at each Tab, and that imports numpy.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASH = """\
# Completion of qa-onnx for bash and zsh.
_qa_onnx() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands} --help --version"
    else
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
            *) case "$current" in
                -*) case "${{COMP_WORDS[1]}}" in
{options}
                esac ;;
            esac ;;
        esac
    fi
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    fi
}}
complete -o default -F _qa_onnx qa-onnx
"""
_ZSH = """\
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""
_FISH = "# Completion of qa-onnx for fish.\n"


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print a script that completes commands, options and their values in a shell.

    \b
    bash  qa-onnx completion bash > ~/.local/share/bash-completion/completions/qa-onnx
    zsh   qa-onnx completion zsh > ~/.qa-onnx.zsh    and in ~/.zshrc: source ~/.qa-onnx.zsh
    fish  qa-onnx completion fish > ~/.config/fish/completions/qa-onnx.fish

    Make the folder if there is none. Open a new shell afterwards, and write the script again after an update of
    qa-onnx.
    """
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    commands = {name: group.get_command(ctx, name) for name in group.list_commands(ctx)}
    found = {name: command for name, command in commands.items() if command is not None}
    if shell == "fish":
        click.echo(_FISH + "\n".join(_fish_lines(found)))
    else:
        click.echo((_ZSH if shell == "zsh" else "") + _bash(found), nl=False)


def _options(command: click.Command) -> Iterator[tuple[list[str], list[str], bool, str]]:
    """Yield of each option its names, the values to choose from, whether it takes one, and its help."""
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            choices = list(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else []
            yield [*option.opts, *option.secondary_opts], choices, not option.is_flag, option.help or ""
    yield ["-h", "--help"], [], False, "Show this message and exit."


def _arguments(command: click.Command) -> list[str]:
    """Return the values to choose from for the arguments of a command."""
    kinds = (argument.type for argument in command.params if isinstance(argument, click.Argument))
    return [str(choice) for kind in kinds if isinstance(kind, click.Choice) for choice in kind.choices]


def _bash(commands: dict[str, click.Command]) -> str:
    values, options = [], []
    for name, command in commands.items():
        words = []
        for names, choices, _, _ in _options(command):
            words += [one for one in names if one.startswith("--")]
            if choices:
                places = "|".join(f'"{name} {one}"' for one in names)
                values.append(f'            {places}) words="{" ".join(choices)}" ;;')
        if choices := _arguments(command):
            values.append(f'            "{name} {name}") words="{" ".join(choices)}" ;;')
        options.append(f'                    {name}) words="{" ".join(words)}" ;;')
    return _BASH.format(commands=" ".join(commands), values="\n".join(values), options="\n".join(options))


def _fish_lines(commands: dict[str, click.Command]) -> Iterator[str]:
    from qa_onnx.cli import COMMANDS

    for name, command in commands.items():
        what = shlex.quote(COMMANDS[name][1])
        yield f"complete -c qa-onnx -n __fish_use_subcommand -f -a {name} -d {what}"
        seen = f'complete -c qa-onnx -n "__fish_seen_subcommand_from {name}"'
        if choices := _arguments(command):
            yield f"{seen} -f -a {shlex.quote(' '.join(choices))}"
        for names, choices, takes_value, text in _options(command):
            words = [f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in names]
            if choices:
                words += ["-x", "-a", shlex.quote(" ".join(choices))]
            elif takes_value:
                words.append("-r")
            first = text.partition("[default:")[0].split(". ")[0].strip().removesuffix(".")
            yield f"{seen} {' '.join(words)}" + (f" -d {shlex.quote(first)}" if first else "")
