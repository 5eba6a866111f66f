"""What the `tensorboard` program finds of us when it starts: `tensorboard --logdir ambry://...` needs nothing else."""

from __future__ import annotations

from argparse import Namespace

from tensorboard.plugins import base_plugin

from ambry.client.refs import ID_SCHEME, SCHEME
from ambry.tensorboard import open_by_fsspec


class RunsInStore(base_plugin.TBLoader):  # type: ignore[misc]  # without TensorBoard it has no types
    """A plugin that shows nothing: it looks at where the program's runs are."""

    def fix_flags(self, flags: Namespace) -> None:
        places = (getattr(flags, "logdir", "") or "", getattr(flags, "logdir_spec", "") or "")
        if any(scheme in place for place in places for scheme in (SCHEME, ID_SCHEME)):
            open_by_fsspec()

    def load(self, context: base_plugin.TBContext) -> None:
        """None: there is nothing to show."""
