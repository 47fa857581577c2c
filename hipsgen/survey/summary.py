"""Summary of a survey for `hipsgen info`."""

from hipsgen.errors import SurveyError
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
    rows = [
        ("survey", f"{survey.title} ({location})"),
        ("plane", p.get("hipsgen_plane", "")),
        ("flags", ", ".join(survey.planes)),
        ("order", f"{survey.order}, {_angle(p.get('hips_pixel_scale', ''))} pixels"),
        ("tiles", f"{survey.tile_width} x {survey.tile_width} pixels"),
        ("frame", survey.frame),
        ("formats", " ".join(survey.formats)),
        ("size", human_size(1024 * float(p.get("hips_estsize", 0)))),
        ("sky", f"{float(p.get('moc_sky_fraction', 0)) * _SKY_AREA:.4g} deg2"),
        ("center", f"{p.get('hips_initial_ra')} {p.get('hips_initial_dec')} deg (ICRS)"),
        ("values", f"{p.get('hips_data_range', '')} {p.get('hips_bunit', '')}".strip()),
        ("cuts", p.get("hips_pixel_cut", "")),
        ("sampling", f"{p.get('hips_sampling', '')} {p.get('hips_overlay', '')}".strip()),
        ("source", p.get("prov_progenitor", "")),
        ("built", f"{p.get('hips_builder', '')} {p.get('hips_release_date', '')}".strip()),
    ]
    return "\n".join(f"{name:<9} {value}" for name, value in rows if value)


def _angle(text: str) -> str:
    return f"{float(text) * 3600:.4g} arcsec" if text else ""
