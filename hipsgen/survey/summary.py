"""Summary of a survey for `hipsgen info`."""

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import pixel_size
from hipsgen.survey.http_store import open_readable
from hipsgen.survey.survey import Survey
from hipsgen.text import human_size

_SKY_AREA = 41252.96  # square degrees


def summarize(location: str) -> str:
    """Describe the survey in a folder or at a URL; if it cannot be opened, return the reason."""
    try:
        return describe(location)
    except SurveyError as error:
        return f"survey    {error}"


def describe(location: str) -> str:
    """Describe the survey in a folder or at a URL. Raises SurveyError if it cannot be opened."""
    survey = Survey.open(open_readable(location))
    p = survey.properties
    size, sky = survey.number("hips_estsize"), survey.number("moc_sky_fraction")
    pixel = survey.number("hips_pixel_scale") or pixel_size(survey.order, survey.tile_width)
    ra, dec = (p.get(f"hips_initial_{key}") for key in ("ra", "dec"))
    rows = [
        ("survey", f"{survey.title} ({location})"),
        ("plane", p.get("hipsgen_plane", "")),
        ("flags", ", ".join(survey.planes)),
        ("order", f"{survey.order}, {pixel * 3600:.4g} arcsec pixels"),
        ("tiles", f"{survey.tile_width} x {survey.tile_width} pixels"),
        ("frame", survey.frame),
        ("formats", " ".join(survey.formats)),
        ("size", human_size(1024 * size) if size else ""),
        ("sky", f"{sky * _SKY_AREA:.4g} deg2" if sky else ""),
        ("center", f"{ra} {dec} deg (ICRS)" if ra and dec else ""),
        ("values", f"{p.get('hips_data_range', '')} {p.get('hips_bunit', '')}".strip()),
        ("cuts", p.get("hips_pixel_cut", "")),
        ("sampling", f"{p.get('hips_sampling', '')} {p.get('hips_overlay', '')}".strip()),
        ("source", p.get("prov_progenitor", "")),
        ("built", f"{p.get('hips_builder', '')} {p.get('hips_release_date', '')}".strip()),
    ]
    return "\n".join(f"{name:<9} {value}" for name, value in rows if value)
