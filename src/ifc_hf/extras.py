"""Libraries that only some of the package needs. The ground floor: this module imports nothing of ours."""

from importlib.util import find_spec


def require(purpose: str, extra: str, *modules: str) -> None:
    """Looks for libraries before the work that needs them.

    Args:
        purpose: What needs them, for the message.
        extra: The package's extra that brings them.
        modules: Names to import.

    Raises:
        ImportError: If one is missing; the message names the extra.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ImportError(f'{purpose} needs {", ".join(missing)}: pip install "ifc_hf[{extra}]"')
