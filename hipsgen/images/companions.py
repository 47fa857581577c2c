"""Recognize images that accompany a science image: its errors, weights, masks, exposure maps.

A name alone leaves nothing out: an object may be called Mask. A companion is recognized by a
standard keyword, or by a word of its name where an image without that word covers the same
pixels: `exp1_wt.fits` accompanies `exp1.fits`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# words of names of companions, as used by the pipelines of HST, JWST, DES, DECam, PS1, Euclid,
# MUSE and other instruments of ESO, Legacy Surveys, VISTA, WISE, Spitzer, GALEX, Herschel, ZTF, and
# by SExtractor and CASA
_WORDS = frozenset(
    re.findall(
        r"\w+",
        "err error errors sig sigma rms unc uncert uncertainty munc refunc std stddev noise snr "
        "s2n dq dqm dqi dmask dqmask flag flags flg mask msk mskimg seg segm segmap "
        "segmentation bpm badpix maskbits qual quality var variance ivar invvar invar stat wht "
        "wgt wt weight weights wtmap conf confidence ctx con context exp expt expwt exptime "
        "expmap exposure cov coverage mcov refcov cvg nexp nimage num hits chi2 chisq bkg bkgd "
        "background bgmod skybg sky model resid residual pb psf psfsize depth galdepth rrhr "
        "npol d2im d2imarr ood oow ooe osd osw ose opd opw ope okd okw oke",
    )
)
# keywords that say what an image is (those of NOAO and DECam, IRAF, ESO, lsst.afw, HEASARC)
_KEYWORDS = ("PRODTYPE", "OBSTYPE", "IMAGETYP", "EXTTYPE", "HDUCLAS2", "HDUCLAS3")
_NO_SCIENCE = frozenset(
    re.findall(
        r"\w+",
        "dqmask wtmap expmap weight mask quality variance error errors dq rms mse rmse confidence "
        "bpm bias zero dark flat focus arc",
    )
)
# what has been done to a science image, such as `Light Frame, dark subtracted`
_DONE = re.compile(
    r"[A-Za-z]+(?:(?: and |\s*[&+/]\s*)[A-Za-z]+)*[^A-Za-z0-9]+"
    r"(?:subtracted|corrected|fielded|divided|removed|applied)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Candidate:
    """An image that may be science or accompany another one.

    Attributes
    ----------
    name
        Its name: EXTNAME, or name of the file.
    kind
        What a keyword says it is, from `kind_of`; "" if no keyword says that it is not science.
    unit
        Its unit; "" if unknown.
    place
        Anything by which `leave_out` recognizes that two images cover the same pixels.
    """

    name: str
    kind: str
    unit: str
    place: Any

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of its name that companions have."""
        return companion_words(self.name)


def companion_words(name: str) -> tuple[str, ...]:
    """Return the words of a name that companions have."""
    return tuple(word for word in _words(name) if word in _WORDS)


def kind_of(*headers: Any) -> str:
    """Return the card that says an image is no science image, as `KEYWORD = value`, or ""."""
    for header in headers:
        for keyword in _KEYWORDS:
            value = header.get(keyword)
            if isinstance(value, str) and _NO_SCIENCE & set(_words(_DONE.sub("", value))):
                return f"{keyword} = {value.strip()}"
    return ""


def leave_out(
    candidates: Sequence[Candidate], is_same: Callable[[Any, Any], bool]
) -> dict[int, str]:
    """Return the reason for each candidate to leave out, by its index.

    Parameters
    ----------
    candidates
        The images of a file, or files.
    is_same
        Whether two images, given their `place`, cover the same pixels.
    """
    found = {k: one.kind for k, one in enumerate(candidates) if one.kind}
    # images with the same words do not accompany each other; those without a word come first
    by_words: dict[frozenset[str], list[Candidate]] = {}
    for k, one in enumerate(candidates):
        if k not in found:
            by_words.setdefault(frozenset(one.words), []).append(one)
    groups = sorted(by_words.items(), key=lambda group: len(group[0]))
    for k, one in enumerate(candidates):
        if k in found:
            continue
        fewer = (others for words, others in groups if words < set(one.words))
        partners = (other for others in fewer for other in others)
        partner = next((other for other in partners if is_same(one.place, other.place)), None)
        if partner is not None:
            word = next(word for word in one.words if word not in partner.words)
            found[k] = f"{word} of {partner.name or 'the image'}"
    return found


def _words(text: str) -> list[str]:
    """Split a name into words in lower case, without trailing digits where that makes one known."""
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", text) if word]
    return [word if word in _WORDS else re.sub(r"\d+$", "", word) or word for word in words]
