#!/usr/bin/env python3
"""Writes the manual page of a program from what its `--experimental-dump-help` prints (JSON, on standard input).

Usage: PROGRAM --experimental-dump-help | scripts/manual.py --section N --version TEXT --date YYYY-MM-DD [--see-also PAGE]...

Used by scripts/package. The page has all commands of the program, each with its options. Exit codes: 0 it is written to
standard output; 1 the JSON is not such a dump.
"""

import argparse
import json
import sys


def escape(text: str) -> str:
    """Text for troff: hyphens as they are typed, and nothing that begins a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def bold(text: str) -> str:
    return f"\\fB{escape(text)}\\fR"


def spelling(name: dict) -> str:
    return ("--" if name["kind"] == "long" else "-") + name["name"]


def is_shown(argument: dict) -> bool:
    return argument.get("shouldDisplay", True)


def is_common(argument: dict) -> bool:
    """Whether all commands have it: it stands in the page once."""
    return argument.get("valueName") in ("help", "version")


def term(argument: dict) -> str:
    value = f"\\fI{escape(argument.get('valueName', ''))}\\fR"
    if argument["kind"] == "positional":
        return value
    names = ", ".join(bold(spelling(name)) for name in argument["names"])
    return names if argument["kind"] == "flag" else f"{names} {value}"


def meaning(argument: dict) -> str:
    text = argument.get("abstract", "")
    if discussion := argument.get("discussion"):
        text += "\n" + discussion
    if (default := argument.get("defaultValue")) and "(default" not in text:
        text += f" (default: {default})"
    if values := argument.get("allValues"):
        text += f" (values: {', '.join(values)})"
    return escape(" ".join(text.split()))


def synopsis(words: str, command: dict) -> list[str]:
    parts = []
    arguments = [argument for argument in command.get("arguments", []) if is_shown(argument)]
    if any(argument["kind"] != "positional" and not is_common(argument) for argument in arguments):
        parts.append("[\\fIoption\\fR]...")
    for argument in arguments:
        if argument["kind"] == "positional":
            text = term(argument) + ("..." if argument.get("isRepeating") else "")
            parts.append(f"[{text}]" if argument.get("isOptional") else text)
    if shown_commands(command):
        parts.append("\\fIcommand\\fR")
    return [f"{bold(words)} {' '.join(parts)}".rstrip()]


def shown_commands(command: dict) -> list[dict]:
    return [each for each in command.get("subcommands", []) if each["commandName"] != "help"]


def options(command: dict, with_common: bool = False) -> list[str]:
    lines = []
    for argument in command.get("arguments", []):
        if is_shown(argument) and (with_common or not is_common(argument)):
            lines += [".TP", term(argument), meaning(argument)]
    return lines


def paragraphs(text: str) -> list[str]:
    """A discussion: paragraphs, and examples as they are typed."""
    lines = []
    for paragraph in text.split("\n\n"):
        rows = paragraph.split("\n")
        while rows:
            typed = rows[0].startswith("  ")
            count = next((i for i, row in enumerate(rows) if row.startswith("  ") != typed), len(rows))
            block, rows = rows[:count], rows[count:]
            if typed:
                lines += [".RS", ".nf", *(escape(row.removeprefix("  ")) for row in block), ".fi", ".RE"]
            else:
                lines += [".PP", escape("\n".join(row.strip() for row in block))]
    return lines


def commands_below(words: str, command: dict) -> list[str]:
    lines = []
    for each in shown_commands(command):
        name = f"{words} {each['commandName']}"
        lines += [f".SS {escape(name.split(' ', 1)[1])}", *synopsis(name, each), ".PP", escape(each.get("abstract", ""))]
        lines += paragraphs(each["discussion"]) if each.get("discussion") else []
        lines += options(each) + commands_below(name, each)
    return lines


def page(command: dict, section: str, version: str, date: str, see_also: list[str]) -> str:
    name = command["commandName"]
    title = f'.TH {escape(name).upper()} {section} "{escape(date)}" "Sluice {escape(version)}" "Sluice"'
    abstract = command["abstract"].rstrip(".")
    lines = [title, ".SH NAME", f"{escape(name)} \\- {escape(abstract[0].lower() + abstract[1:])}"]
    lines += [".SH SYNOPSIS", *synopsis(name, command), ".SH DESCRIPTION", escape(command["abstract"])]
    lines += paragraphs(command.get("discussion", ""))
    lines += [".SH OPTIONS", *options(command, with_common=True)]
    if below := commands_below(name, command):
        lines += [".SH COMMANDS", *below]
    if see_also:
        pages = (each.rsplit(".", 1) for each in see_also)
        lines += [".SH SEE ALSO", ", ".join(f"{bold(other)}({number})" for other, number in pages)]
    return "\n".join(line for line in lines if line) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--section", "--version", "--date"):
        parser.add_argument(option, required=True)
    parser.add_argument("--see-also", action="append", default=[])
    arguments = parser.parse_args()
    try:
        command = json.load(sys.stdin)["command"]
        text = page(command, arguments.section, arguments.version, arguments.date, arguments.see_also)
    except (ValueError, KeyError, TypeError) as error:
        sys.exit(f"manual.py: standard input is not what --experimental-dump-help prints: {error!r}")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
