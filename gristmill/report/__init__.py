"""One page about a whole run: ``write_report`` reads what the stages left and writes ``RUN/report.html``."""

from gristmill.report.page import PAGE_NAME, render_report, write_report

__all__ = ["PAGE_NAME", "render_report", "write_report"]
