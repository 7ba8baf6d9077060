"""QR codes as pictures in a page.

Lives here: drawing one. Does not live here: what it says (`factors`, `qr`).
"""

import asyncio

import segno

SCALE_PX = 4
BORDER_MODULES = 4
"""ISO/IEC 18004 asks for a quiet zone of four."""


async def svg_of(text: str) -> str:
    """Return an `<svg>` element that stands in a page of any colour; it takes milliseconds, so a thread draws it."""
    return await asyncio.to_thread(_drawn, text)


def _drawn(text: str) -> str:
    code = segno.make_qr(text, error="m")
    return code.svg_inline(scale=SCALE_PX, border=BORDER_MODULES, light="white")
