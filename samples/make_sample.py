"""Make `sense-and-sensibility.mp4`, the bundled sample, from public-domain speech.

Run from the repository's root with the project's environment:
`python -m samples.make_sample DIR`, where DIR holds the `sense_and_sensibility_01_austen_64kb-*.wav` of Debian's
package pocketsphinx-testdata (`apt-get download pocketsphinx-testdata && dpkg -x *.deb .`) and Debian's
fonts-dejavu-core is installed. Needs an ffmpeg with libx264 and libass. Nothing at run time needs this script.
"""
# ruff: noqa: INP001 -- a script beside its result, not a package

import argparse
import sys
import tempfile
from pathlib import Path

import ffmpeg as graph
import numpy as np
import soundfile

from shared.ffmpeg import Ffmpeg

HERE = Path(__file__).parent
NAME = "sense-and-sensibility"
SENTENCES = ("0870", "0880", "0890", "0920")
"""Utterances of chapter 1, in the order in which they are read."""
RATE = 16_000
LEAD_IN_S, PAUSE_S, TAIL_S = 0.5, 0.35, 0.8
"""Silence before, between and after; each recording brings some of its own."""
FADE_S = 0.02
PEAK = 0.7
FPS = 25
FONTS = Path("/usr/share/fonts/truetype/dejavu")

TITLE = """[Script Info]
ScriptType: v4.00+
PlayResX: 640
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment, MarginL, MarginR, MarginV, BorderStyle, Outline, Shadow
Style: Title,DejaVu Serif,40,&H00D2E4F0,8,20,20,92,1,0,1
Style: Author,DejaVu Sans,18,&H30D2E4F0,8,20,20,152,1,0,0
Style: Foot,DejaVu Sans,12,&H70D2E4F0,2,20,20,16,1,0,0

[Events]
Format: Layer, Start, End, Style, Text
Dialogue: 0,0:00:00.00,0:01:00.00,Title,{\\fad(800,0)}Sense and Sensibility
Dialogue: 0,0:00:00.00,0:01:00.00,Author,{\\fad(1400,0)}Jane Austen \\h·\\h Chapter 1
Dialogue: 0,0:00:00.00,0:01:00.00,Foot,{\\fad(2000,0)}A LibriVox reading, in the public domain
"""


def speech(source: Path) -> np.ndarray:
    """Return the sentences with pauses, mono float at 16 kHz, long enough for a whole number of frames."""
    fade = np.linspace(0, 1, int(FADE_S * RATE), dtype=np.float32)
    parts = [np.zeros(int(LEAD_IN_S * RATE), np.float32)]
    for number in SENTENCES:
        samples, rate = soundfile.read(source / f"sense_and_sensibility_01_austen_64kb-{number}.wav", dtype="float32")
        if rate != RATE:
            raise ValueError(f"utterance {number} has {rate} samples/s, not {RATE}")
        samples[: fade.size] *= fade
        samples[-fade.size :] *= fade[::-1]
        parts += [samples, np.zeros(int(PAUSE_S * RATE), np.float32)]
    parts[-1] = np.zeros(int(TAIL_S * RATE), np.float32)
    joined = np.concatenate(parts)
    frame = RATE // FPS
    joined = np.pad(joined, (0, -joined.size % frame))
    return joined * np.float32(PEAK / np.abs(joined).max())


def main(arguments: list[str]) -> None:
    """Write the sample beside this script."""
    parser = argparse.ArgumentParser(prog="python -m samples.make_sample")
    parser.add_argument("recordings", type=Path)
    recordings = parser.parse_args(arguments).recordings
    samples = speech(recordings)
    length = samples.size / RATE
    with tempfile.TemporaryDirectory() as scratch:
        wav, title = Path(scratch, "speech.wav"), Path(scratch, "title.ass")
        soundfile.write(wav, samples, RATE, subtype="PCM_16")
        title.write_text(TITLE, encoding="utf-8")
        voice = graph.input(f"file:{wav}").audio.filter("aresample", 48_000).filter("aformat", channel_layouts="stereo")
        copies = voice.filter_multi_output("asplit")
        colours = {"c0": "0x16263a", "c1": "0x3b2440", "x0": 0, "y0": 0, "x1": 640, "y1": 360}
        sky = graph.input(
            "gradients="
            + ":".join(
                f"{k}={v}" for k, v in {"s": "640x360", "r": FPS, "n": 2, "seed": 7, "speed": 0.004, **colours}.items()
            ),
            f="lavfi",
        )
        wave = (
            copies[1]
            .filter("volume", 2)
            .filter("showwaves", s="560x100", mode="cline", r=FPS, colors="0xD9C7A8", draw="full")
        )
        picture = (
            sky.overlay(wave, x=40, y=205)
            .filter("ass", filename=str(title), fontsdir=str(FONTS))
            .filter("format", "yuv420p")
            .filter("trim", end_frame=round(length * FPS))
        )
        made = graph.output(
            picture,
            copies[0],
            f"file:{HERE / f'{NAME}.mp4'}",
            f="mp4",
            movflags="+faststart",
            fflags="+bitexact",
            map_metadata=-1,
            **{"c:v": "libx264", "preset": "slow", "crf": 28, "g": FPS * 4, "flags:v": "+bitexact"},
            **{"c:a": "aac", "b:a": "80k", "flags:a": "+bitexact", "metadata:s:a:0": "language=eng"},
        )
        Ffmpeg.find().run(made.get_args())


if __name__ == "__main__":
    main(sys.argv[1:])
