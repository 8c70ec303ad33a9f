"""Tables on a terminal, or in a file that is not as wide."""

from rich.console import Console
from rich.table import Table


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as it is: a number is never cut short."""
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table, soft_wrap=False)
