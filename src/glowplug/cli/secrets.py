"""`glowplug secret`: values that functions get as environment variables, and nobody reads back."""

from __future__ import annotations

import getpass
import sys

import cyclopts

from glowplug.cli.functions import Json, Url
from glowplug.cli.output import console, print_json
from glowplug.client import Client
from glowplug.core.errors import InvalidArguments

app = cyclopts.App(name="secret", help="Store and remove secrets.")


@app.command
def set(name: str, *, namespace: str = "default", url: Url = None) -> None:
    """Store secret NAME; its value is asked for, or read from standard input.

    For example:

        glowplug secret set API_KEY
        echo "$API_KEY" | glowplug secret set API_KEY
    """
    try:
        value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidArguments(f"{name}: the value is no text in UTF-8", "value") from None
    value = value.rstrip("\n")
    if not value:
        raise InvalidArguments(
            f"{name}: the value is empty; to take a secret away: glowplug secret remove {name}", "value"
        )
    with Client(url) as client:
        client.set_secret(name, value, namespace)
    console.print(f"{name} is stored; functions started from now on get it")


@app.command(name="list")
def list_names(*, namespace: str = "default", url: Url = None, json: Json = False) -> None:
    """List the names of secrets; nobody reads their values back.

    For example:

        glowplug secret list
    """
    with Client(url) as client:
        names = client.secrets(namespace)
    if json:
        print_json(names)
    else:
        console.print("\n".join(names) or "no secrets are stored", markup=False, highlight=False)


@app.command
def remove(name: str, *, namespace: str = "default", url: Url = None) -> None:
    """Remove secret NAME.

    For example:

        glowplug secret remove API_KEY
    """
    with Client(url) as client:
        client.remove_secret(name, namespace)
