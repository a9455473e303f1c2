"""Tables over real people: means and standard errors over their files."""

from collections.abc import Mapping, Sequence

import numpy as np

from hidenerf.training.evaluation.scores import means, values_by_column
from hidenerf.training.evaluation.tables import RealTables, Row, Table


def over_files(by_file: Mapping[str, Table]) -> RealTables:
    """Means and standard errors over files. by_file: tables of the same rows, which may be empty."""
    names = dict.fromkeys(name for table in by_file.values() for name in table)
    rows = {name: [table[name] for table in by_file.values() if table.get(name)] for name in names}
    found = {name: several for name, several in rows.items() if several}
    return RealTables(
        table={name: means(several) for name, several in found.items()},
        standard_error={name: standard_errors(several) for name, several in found.items()},
        by_file=dict(by_file),
    )


def standard_errors(rows: Sequence[Row]) -> Row:
    """Standard errors by column of the means of rows, over the rows that have it; without columns of a single row."""
    return {
        column: float(np.std(values, ddof=1) / np.sqrt(len(values)))
        for column, values in values_by_column(rows).items()
        if len(values) > 1
    }
