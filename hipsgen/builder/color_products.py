"""Files of a color survey besides its tiles: Allsky, MOC, preview, page and properties."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.builder.metadata import SurveyIdentity, geometry, identity_properties, override
from hipsgen.builder.result import total_size
from hipsgen.journal.inventory import FileChecksum, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.records import BlockRecord, TopRecord
from hipsgen.planner.color_stretch import Triple, values_of
from hipsgen.sky.stretch import Lupton
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import ALLSKY_ORDERS, MOC_NAME, moc_bytes
from hipsgen.survey.extent import initial_view
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, JpegTile
from hipsgen.survey.page import page_files
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.preview import view
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.properties import encode_properties
from hipsgen.survey.store import Store
from hipsgen.survey.survey import Survey


@dataclass(frozen=True)
class ColorProducts:
    """Writes the files that depend on all tiles of a color survey."""

    bands: Triple
    stretch: Lupton
    moc: Any
    order: int
    store: Store

    def write(self, encoders: Sequence[Format], top: TileInventory, fingerprint: str) -> None:
        """Write all files except `properties`, and record them with the tiles of the top orders."""
        files = {
            **self._allskys(encoders),
            MOC_NAME: moc_bytes(self.moc, self.bands[0].frame),
            PREVIEW: self._preview(),
            **dict(page_files()),
        }
        for path, data in files.items():
            self.store.write(path, data)
        known = {path: FileChecksum.of(data) for path, data in files.items()}
        Journal(self.store).record_top(TopRecord(top, known, fingerprint))

    def write_properties(
        self,
        identity: SurveyIdentity,
        created: str,
        encoders: Sequence[Format],
        blocks: Sequence[BlockRecord],
        top: TileInventory,
        own_properties: Sequence[tuple[str, str]],
    ) -> None:
        """Write `properties`, the last file of a build; `own_properties` take precedence."""
        _, icrs, fov = initial_view(self.moc, self.bands[0].frame)
        size = total_size([top.size(), *(block.size for block in blocks)])
        formats = " ".join(encoder.name for encoder in encoders)
        frame, width = self.bands[0].frame, self.bands[0].tile_width
        values = {
            **identity_properties(identity, created),
            "dataproduct_subtype": "color",
            **_wavelengths(self.bands),
            **geometry(self.order, width, frame, formats, icrs, fov, self.moc),
            "hips_rgb_red": _reference(self.bands[0]),
            "hips_rgb_green": _reference(self.bands[1]),
            "hips_rgb_blue": _reference(self.bands[2]),
            "hips_hierarchy": "mean",
            "hips_estsize": max(1, round(sum(size.values()) / 1024)),
            "hipsgen_stretch": self.stretch.describe(),
        }
        self.store.write(PROPERTIES, encode_properties(override(values, own_properties)))

    def _allskys(self, encoders: Sequence[Format]) -> dict[str, bytes | memoryview]:
        fits, files = FitsTile(), {}
        for order in ALLSKY_ORDERS:
            path = f"Norder{order}/Allsky"
            try:
                planes = [fits.decode(band.store.read(f"{path}.fits")) for band in self.bands]
            except FileNotFoundError:
                continue
            levels = self.stretch(np.stack(planes))
            for encoder in encoders:
                files[f"{path}.{encoder.extension}"] = encoder.encode(levels)
        return files

    def _preview(self) -> bytes | memoryview:
        def read(tile: Tile) -> npt.NDArray[np.uint8] | None:
            values = values_of(self.bands, tile)
            return None if values is None else self.stretch(values)

        center, _, fov = initial_view(self.moc, self.bands[0].frame)
        picture = view(read, center, fov, self.order, self.bands[0].tile_width)
        return JpegTile(quality=90).encode(picture)


def _wavelengths(bands: Triple) -> dict[str, Any]:
    """Return obs_regime, em_min and em_max of the surveys, as far as they have them."""
    lows = [b.properties["em_min"] for b in bands if "em_min" in b.properties]
    highs = [b.properties["em_max"] for b in bands if "em_max" in b.properties]
    if not lows or not highs:
        return {}
    regimes = {b.properties.get("obs_regime", "") for b in bands} - {""}
    return {
        "obs_regime": " ".join(sorted(regimes)),
        "em_min": min(lows, key=float),
        "em_max": max(highs, key=float),
    }


def _reference(band: Survey) -> str:
    return f"{band.title} [{band.properties.get('creator_did', '')}]"
