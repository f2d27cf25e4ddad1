"""One module per section of the page: from a stage's report to what its template draws."""
