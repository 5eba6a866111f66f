"""`ambry completion`: what a shell loads to complete commands, options, their values and files."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what a shell loads to complete `ambry`.

    \b
    ambry completion bash > ~/.local/share/bash-completion/completions/ambry
    ambry completion zsh  > "${fpath[1]}/_ambry"
    ambry completion fish > ~/.config/fish/completions/ambry.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click completes nothing for {shell}")
    root = click.get_current_context().find_root().command
    # Not source() of bash, which starts a bash to ask how old it is.
    click.echo(ShellComplete.source(found(root, {}, "ambry", "_AMBRY_COMPLETE")))
