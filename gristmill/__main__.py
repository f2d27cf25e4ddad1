"""``python -m gristmill``, which is also how torchrun starts a rank."""

from gristmill.cli import main

main()
