"""Tab completion by Hydra, which knows nothing of commands: those are completed here.

Bash expands what a program proposes, so that a file named ``$(...)`` would be run. No proposal
holds a sign that means anything to a shell.
"""

import os
import re
from argparse import Namespace

from hydra._internal.hydra import Hydra
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import CompletionPlugin

from adbench.cli.main import COMMANDS
from adbench.config.compose import PRIMARY, Configs
from adbench.errors import AdbenchError

_PLAIN = re.compile(r"[\w@%+=:,./~\[\]-]+")


def command(given: Namespace, configs: Configs) -> int:
    """Print proposals for the line in ``COMP_LINE``, or the script that asks for them."""
    action, _, shell = "".join(given.words[1:]).partition("=")
    plugins = Hydra.get_shell_to_plugin_map(configs.loader)
    if action not in ("install", "uninstall", "query") or shell not in plugins:
        shells = ", ".join(sorted(plugins))
        raise AdbenchError(f"-sc takes install=SHELL or uninstall=SHELL, of {shells}")
    (plugin,) = plugins[shell]
    if action == "query":
        found = _proposals(os.environ.get("COMP_LINE", ""), plugin)
        print("\n".join(word for word in found if _PLAIN.fullmatch(word)))
    else:
        getattr(plugin, action)()
    return 0


def _proposals(line: str, plugin: CompletionPlugin) -> list[str]:
    typed = line.split()
    if len(typed) < 2 or (len(typed) == 2 and not line.endswith(" ")):
        return list(COMMANDS)
    without_command = line.replace(f" {typed[1]} ", " ", 1)
    words = plugin.strip_python_or_app_name(without_command)
    try:
        found: list[str] = plugin._query(config_name=PRIMARY, line=words)
    except (HydraException, AdbenchError):  # a word before is wrong, so that nothing can follow
        return []
    return found
