"""The coadds of a survey as a table."""

import json
from collections.abc import Sequence

import numpy as np
from astropy import units
from astropy.table import Column, QTable

from hipsgen.survey.provenance import UsedCoadd

_OF_REF = ("band", "dataset_type", "run", "dataset_id", "uri", "hdu", "identity")
_OF_USE = ("unit_in", "calibration", "excluded_planes")


def provenance_table(coadds: Sequence[UsedCoadd]) -> QTable:
    """Return a table with a row for each coadd; see `Survey.provenance`."""
    ids = [json.dumps(dict(coadd.ref.data_id), sort_keys=True) for coadd in coadds]
    return QTable(
        [
            *(Column([getattr(c.ref, name) for c in coadds], name, str) for name in _OF_REF),
            Column(ids, "data_id", str),
            *(Column([getattr(c, name) for c in coadds], name, str) for name in _OF_USE),
            Column([coadd.scale for coadd in coadds], "scale", float),
            *(
                np.array([getattr(coadd, name) for coadd in coadds], float) * units.day
                for name in ("t_min", "t_max")
            ),
        ],
        names=[*_OF_REF, "data_id", *_OF_USE, "scale", "t_min", "t_max"],
    )
