"""Write map pages for tests, and read the state of the map in a browser by JavaScript."""

from __future__ import annotations

import json
import re

import numpy as np
from browsers import until
from datasets import RATE

from dafxtool.latents.projection import Projection
from dafxtool.web import page as page_module
from dafxtool.web.latent_map import map_fragment

REPEATED = 4  # repetitions of the audio, so that there is time to switch channels

LATENT_MAP = "document.getElementById('latent-map').latentMap"
# Pixels of the window; test_points_are_painted_at_their_positions checks the formula.
PIXEL = f"""(row) => {{
  const {{ map }} = {LATENT_MAP};
  const box = map.overlay.getBoundingClientRect();
  const [left, top] = map.pixelOf(row);
  return [box.left + left, box.top + top];
}}"""
COLOUR = f"""(row) => {{
  const {{ map }} = {LATENT_MAP};
  const [left, top] = map.pixelOf(row).map((each) => Math.floor(each * map.pixelRatio));
  return [...map.canvas.getContext("2d").getImageData(left, top, 1, 1).data].slice(0, 3);
}}"""
INK_AROUND = f"""(row) => {{
  const {{ map }} = {LATENT_MAP};
  const [left, top] = map.pixelOf(row).map((each) => Math.floor(each * map.pixelRatio));
  const pixels = map.overlay.getContext("2d").getImageData(left - 16, top - 16, 33, 33).data;
  return pixels.filter((value, i) => i % 4 === 3 && value > 0).length;
}}"""
PLAYBACK = f"""(channel) => {{
  const {{ duration, currentTime, paused }} = {LATENT_MAP}.player.elements[channel];
  return {{ duration, position: currentTime, paused }};
}}"""
CANVAS = """([name, index]) => {
  const canvas = document.getElementsByClassName(name)[index];
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""
TOOLTIP = "document.querySelector('.point-map-tooltip').innerText"
IS_PLAYING = f"{LATENT_MAP}.player.isPlaying"
SCALE = f"{LATENT_MAP}.map.view.scale"
POINTED = f"{LATENT_MAP}.map.active"


def data_of(path):
    """Read the data that a page embeds for its map."""
    result = re.search(r'class="map-data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    return json.loads(result[1])


def write_page(path, latents, points, map_audio):
    projection = Projection(np.asarray(points, np.float32), ("x", "y"))
    fragment = map_fragment(latents, projection, map_audio, RATE)
    page_module.write_page(path, page_module.render_page("Map", [fragment]))
    return path


def ready(page):
    until(page, f"Boolean({LATENT_MAP})")
    page.wait_for_timeout(100)  # the first frame


def label_of(path, row):
    return data_of(path)["points"]["labels"][row].replace("\N{NO-BREAK SPACE}", " ")


def faint_rows(latents, map_audio):
    return [row for row in range(len(latents)) if row not in map_audio.rows]
