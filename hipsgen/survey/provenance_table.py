"""Coadds of a survey as an astropy table."""

import json
from collections.abc import Sequence

import numpy as np
from astropy import units
from astropy.table import Column, QTable

from hipsgen.survey.provenance import UsedCoadd

_REF_COLUMNS = ("band", "dataset_type", "run", "dataset_id", "uri", "hdu", "identity")
_USE_COLUMNS = ("unit_in", "calibration", "excluded_planes")


def provenance_table(coadds: Sequence[UsedCoadd]) -> QTable:
    """Return a table with one row per coadd; see `Survey.provenance` for its columns."""
    ids = [json.dumps(dict(coadd.ref.data_id), sort_keys=True) for coadd in coadds]
    return QTable(
        [
            *(Column([getattr(c.ref, name) for c in coadds], name, str) for name in _REF_COLUMNS),
            Column(ids, "data_id", str),
            *(Column([getattr(c, name) for c in coadds], name, str) for name in _USE_COLUMNS),
            Column([coadd.scale for coadd in coadds], "scale", float),
            *(
                np.array([getattr(coadd, name) for coadd in coadds], float) * units.day
                for name in ("t_min", "t_max")
            ),
        ],
        names=[*_REF_COLUMNS, "data_id", *_USE_COLUMNS, "scale", "t_min", "t_max"],
    )
