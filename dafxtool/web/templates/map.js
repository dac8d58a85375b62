"use strict";
(() => {
  const root = document.getElementById("latent-map");
  const find = (name) => root.querySelector(name);
  const data = JSON.parse(find(".map-data").textContent);
  const plot = find(".map-plot");
  const narrow = window.matchMedia("(max-width: 800px)").matches;
  const layout = data.figure.layout;
  // A finger on the map scrolls the page; a mouse may draw a box to look closer.
  const finger = window.matchMedia("(pointer: coarse)").matches;
  layout.dragmode = finger ? false : "zoom";
  if (finger) {
    // Labels would cover a small map; what is tapped is told below it.
    for (const trace of data.figure.data) if (trace.hoverinfo === "text") trace.hoverinfo = "none";
  }
  if (narrow) {
    layout.margin.l = 36;
    const named = data.figure.data.filter((trace) => trace.showlegend !== false).length;
    plot.style.height = `${360 + 20 * Math.ceil(named / 2)}px`; // two names a line, at least
  }
  Plotly.newPlot(plot, data.figure.data, layout, {
    responsive: true,
    displaylogo: false,
    displayModeBar: false,
  });
  if (!data.carried) return;

  const carried = data.carried;
  const unpack = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const signed = (text) => new Int8Array(unpack(text).buffer);
  const originals = unpack(carried.originals);
  const ends = unpack(carried.ends);
  const coefficients = signed(carried.coefficients);
  const basis = signed(carried.basis);
  const colours = unpack(carried.colours);
  const area = carried.bands * carried.times; // of one channel of a picture
  const slots = new Map(carried.rows.map((row, slot) => [row, slot]));

  // --- pictures: a decibel for each place, row by row from the lowest band -------------------

  const decibelsOf = (levels, start) =>
    Float32Array.from(levels.subarray(start, start + area), (level) =>
      level ? carried.range_db * (level / 255 - 1) : -Infinity);

  const draw = (canvas, decibels) => {
    const image = new ImageData(carried.times, carried.bands);
    for (let band = 0; band < carried.bands; band++) {
      for (let time = 0; time < carried.times; time++) {
        const height = 1 - decibels[band * carried.times + time] / carried.floor_db;
        const colour = 3 * Math.max(0, Math.min(255, Math.round(255 * height)));
        const place = 4 * ((carried.bands - 1 - band) * carried.times + time);
        image.data.set(colours.subarray(colour, colour + 3), place);
        image.data[place + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  };

  // The blend of both ends in the power law, and what the decoder makes otherwise.
  const step = (a, b, index, channel) => {
    const t = carried.positions[index];
    const [low, high] = a < b ? [a, b] : [b, a];
    const n = carried.rows.length;
    const pair = low * n - (low * (low + 1)) / 2 + (high - low - 1);
    const row = pair * carried.positions.length +
      (a < b ? index : carried.positions.length - 1 - index);
    const power = carried.exponent / 20;
    const from = decibelsOf(ends, (2 * a + channel) * area);
    const to = decibelsOf(ends, (2 * b + channel) * area);
    const values = from.map((end, i) => (1 - t) * 10 ** (power * end) + t * 10 ** (power * to[i]));
    carried.scales.forEach((scale, k) => {
      const weight = scale * coefficients[row * carried.scales.length + k];
      const start = (2 * k + channel) * area;
      for (let i = 0; i < area; i++) values[i] += weight * basis[start + i];
    });
    return values.map((value) => (value > 0 ? Math.log10(value) / power : -Infinity));
  };

  for (const frame of root.querySelectorAll(".pictures .frame")) {
    for (const [height, text] of carried.ticks) {
      const tick = document.createElement("span");
      tick.className = "tick";
      tick.style.bottom = `${100 * height}%`;
      tick.textContent = text;
      frame.append(tick);
    }
  }

  // --- sound: one of two, wet or dry, at the same place --------------------------------------

  const sounds = { dry: new Audio(), wet: new Audio() };
  let kind = "wet";
  const cursors = root.querySelectorAll(".cursor");
  const playing = () => !sounds[kind].paused && !sounds[kind].ended;

  const show = () => {
    for (const each of ["wet", "dry"]) {
      find(`.map-${each}`).setAttribute("aria-pressed", String(each === kind));
    }
  };

  const follow = () => {
    const sound = sounds[kind];
    const share = sound.duration ? Math.min(sound.currentTime / sound.duration, 1) : 0;
    for (const cursor of cursors) {
      cursor.hidden = !playing();
      cursor.style.left = `${100 * share}%`;
    }
    if (playing()) requestAnimationFrame(follow);
  };

  const play = (wanted) => {
    const place = playing() ? sounds[kind].currentTime : 0;
    if (kind !== wanted) sounds[kind].pause();
    kind = wanted;
    show();
    sounds[kind].currentTime = place;
    // A click on the next point may come before this one has begun: that is no error.
    sounds[kind].play().then(follow, () => {});
  };

  const stop = () => {
    for (const sound of Object.values(sounds)) sound.pause();
    follow();
  };

  // --- points ---------------------------------------------------------------------------------

  let a = null;
  let b = null;
  let held = false;
  const row = (slot) => carried.rows[slot];
  const about = (slot) => data.points[row(slot)];
  const from = find(".map-from");

  // The label of the chosen point, which may not be the one that lies nearest.
  const label = (slot) => {
    plot.data.forEach((trace, curveNumber) => {
      const pointNumber = trace.customdata ? trace.customdata.indexOf(row(slot)) : -1;
      if (pointNumber >= 0) Plotly.Fx.hover(plot, [{ curveNumber, pointNumber }]);
    });
  };

  const mark = () => {
    const chosen = a === null || a === b ? [[b, "A"]] : [[a, "A"], [b, "B"]];
    const where = chosen.map(([slot]) => {
      for (const trace of data.figure.data) {
        const index = trace.customdata ? trace.customdata.indexOf(row(slot)) : -1;
        if (index >= 0) return [trace.x[index], trace.y[index]];
      }
      return [null, null];
    });
    Plotly.restyle(plot, {
      x: [where.map((each) => each[0])],
      y: [where.map((each) => each[1])],
      text: [chosen.map((each) => each[1])],
    }, [data.figure.data.length - 1]);
  };

  const showWay = () => {
    const way = find(".map-way");
    way.hidden = a === null || a === b;
    if (way.hidden) return;
    const told = (slot) => `${about(slot).label} (${about(slot).recording})`;
    find(".map-a").textContent = told(a);
    find(".map-b").textContent = told(b);
    ["dry", "wet"].forEach((name, channel) => {
      const canvases = [...root.querySelectorAll(`.map-step-${name}`)];
      canvases.forEach((canvas, index) => {
        if (index === 0) draw(canvas, decibelsOf(ends, (2 * a + channel) * area));
        else if (index === canvases.length - 1)
          draw(canvas, decibelsOf(ends, (2 * b + channel) * area));
        else draw(canvas, step(a, b, index - 1, channel));
      });
    });
  };

  const choose = (slot, hold) => {
    // The same point again is only heard again.
    if (slot !== b && (a === null || !(held || hold))) a = b;
    b = slot;
    const told = about(slot);
    find(".map-say").hidden = true;
    find(".map-now").hidden = false;
    find(".map-label").textContent = told.label;
    find(".map-recording").textContent = told.recording;
    find(".map-place").textContent = told.place;
    ["dry", "wet"].forEach((name, channel) => {
      stop();
      sounds[name].src = carried.sounds[carried.sounds_of[slot][channel]];
      draw(find(`.map-${name}-picture`), decibelsOf(originals, (2 * slot + channel) * area));
    });
    play("wet");
    mark();
    label(slot);
    showWay();
  };

  // A finger or a hasty mouse may hit a silent point that lies beside one with sound.
  const nearest = (point) => {
    const pixels = (x, y) => [point.xaxis.d2p(x), point.yaxis.d2p(y)];
    const [left, top] = pixels(point.x, point.y);
    let best = { distance: finger ? 24 : 10 }; // pixels
    plot.data.forEach((trace) => {
      if (!trace.customdata || trace.visible === "legendonly") return;
      trace.customdata.forEach((each, i) => {
        const [x, y] = pixels(trace.x[i], trace.y[i]);
        const distance = Math.hypot(x - left, y - top);
        if (slots.has(each) && distance < best.distance) best = { distance, slot: slots.get(each) };
      });
    });
    return best.slot;
  };

  let lastClick = -Infinity; // ms
  plot.on("plotly_click", (event) => {
    const chosen = event.points.find((point) => point.customdata !== undefined);
    // A finger's tap comes twice, the second time as a mouse's click that may mean another point.
    const again = performance.now() - lastClick < 400;
    if (!chosen || (again && finger)) return;
    lastClick = performance.now();
    const slot = slots.get(chosen.customdata) ?? nearest(chosen);
    if (slot === undefined) {
      const told = data.points[chosen.customdata];
      find(".map-say").hidden = false;
      find(".map-say").textContent = `This point carries no sound: ${told.label}, ` +
        `${told.recording}, ${told.place}.`;
      return;
    }
    choose(slot, Boolean(event.event && event.event.shiftKey));
  });

  find(".map-wet").addEventListener("click", () => play("wet"));
  find(".map-dry").addEventListener("click", () => play("dry"));
  find(".map-stop").addEventListener("click", stop);
  from.addEventListener("click", () => {
    held = !held;
    from.setAttribute("aria-pressed", String(held));
    if (held) {
      a = b;
      mark();
      showWay();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (b === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "d") play(kind === "wet" ? "dry" : "wet");
    if (event.key === " " && playing()) {
      event.preventDefault();
      stop();
    }
  });
  for (const sound of Object.values(sounds)) sound.addEventListener("ended", follow);
  root.mapSounds = sounds; // for whoever looks at the page from outside
})();
