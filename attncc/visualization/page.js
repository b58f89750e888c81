"use strict";
// The page of a pattern. `attncc` has functions of data alone, which run without a page; `mount` fills one.

const attncc = (() => {
  const EMPTY = 0, PARTIAL = 1, FULL = 2;
  const NAMES = ["EMPTY", "PARTIAL", "FULL"];
  const TILE_COLOURS = [null, [158, 202, 225], [33, 113, 181]];
  const SET_COLOURS = [[31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189]];

  // Cells from letters with counts: "12e3pf" is twelve EMPTY ones, three PARTIAL and a FULL one.
  function decode(text, size) {
    const cells = new Uint8Array(size);
    let at = 0;
    for (const [, count, letter] of text.matchAll(/(\d*)([epf])/g)) {
      const end = at + (count === "" ? 1 : Number(count));
      cells.fill("epf".indexOf(letter), at, end);
      at = end;
    }
    if (at !== size) throw new Error(`${at} cells in place of ${size}`);
    return cells;
  }

  function decoded(level) {
    return {...level, cells: level.sets.map((text) => decode(text, level.rows * level.columns))};
  }

  // The finest level that has a pair, and the class of the pair's cell in each set.
  function cellAt(levels, i, j) {
    for (const level of [...levels].reverse()) {
      const row = Math.floor((i - level.first[0]) / level.side), column = Math.floor((j - level.first[1]) / level.side);
      if (row >= 0 && column >= 0 && row < level.rows && column < level.columns)
        return {side: level.side, classes: level.cells.map((cells) => cells[row * level.columns + column])};
    }
    return null;
  }

  // A view is the position of its upper left corner, and positions a pixel. The point under (x, y) stays.
  function zoomed(view, factor, x, y, length, size) {
    const scale = Math.min(Math.max(view.scale / factor, 8 / size), length / size);
    return clamped({scale, i: view.i + y * (view.scale - scale), j: view.j + x * (view.scale - scale)}, length, size);
  }

  function clamped(view, length, size) {
    const most = length - view.scale * size;
    const within = (position) => Math.min(Math.max(position, Math.min(most, 0)), Math.max(most, 0));
    return {...view, i: within(view.i), j: within(view.j)};
  }

  // The colour of a cell: white with each shown set's colour over it, the first on top; PARTIAL at half strength.
  function colour(classes, shown) {
    const found = [244, 245, 247];
    for (let m = classes.length - 1; m >= 0; m--) {
      if (!shown[m] || classes[m] === EMPTY) continue;
      const weight = classes[m] === FULL ? 1 : 0.5;
      for (let k = 0; k < 3; k++) found[k] += weight * (SET_COLOURS[m % SET_COLOURS.length][k] - found[k]);
    }
    return found;
  }

  const grouped = (number) => Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  const milliseconds = (value) => {
    const [size, unit] = value >= 1000 ? [1000, "s"] : value >= 1 ? [1, "ms"] : [0.001, "µs"];
    return `${Number((value / size).toPrecision(3))} ${unit}`;
  };

  function mount(document, data) {
    const element = (id) => document.getElementById(id);
    const made = (name, properties = {}, ...children) => {
      const found = Object.assign(document.createElement(name), properties);
      found.append(...children);
      return found;
    };
    const pressed = (button, is) => button.setAttribute("aria-pressed", String(is));

    function map() {
      const canvas = element("map"), context = canvas.getContext("2d"), size = canvas.width;
      const levels = data.levels.map(decoded), [length, keys] = data.lengths;
      const wide = keys / length;  // keys to a query's height: a view is square, with j / wide in place of j
      const whole = {scale: length / size, i: 0, j: 0};
      const shown = data.sets.map(() => true);
      let view = whole, held = null;

      // A level as a picture of a pixel a cell, made again when sets are shown or hidden.
      function painted(level) {
        const picture = made("canvas", {width: level.columns, height: level.rows}), brush = picture.getContext("2d");
        const image = brush.createImageData(level.columns, level.rows);
        for (let at = 0; at < level.rows * level.columns; at++)
          image.data.set([...colour(level.cells.map((cells) => cells[at]), shown), 255], 4 * at);
        brush.putImageData(image, 0, 0);
        return picture;
      }
      let pictures = levels.map(painted);

      function draw() {
        context.imageSmoothingEnabled = false;
        context.clearRect(0, 0, size, size);
        levels.forEach((level, number) => {
          if (number && levels[number - 1].side < 4 * view.scale) return;  // its cells are as fine as what is above them
          const [i, j] = level.first, pixels = level.side / view.scale;
          context.drawImage(pictures[number], (j / wide - view.j) / view.scale, (i - view.i) / view.scale, level.columns * pixels / wide, level.rows * pixels);
        });
        canvas.dataset.scale = view.scale;
        const last = (first, count, most) => Math.min(Math.ceil(first + count), most) - 1, extent = view.scale * size;
        const rows = [Math.floor(view.i), last(view.i, extent, length)], columns = [Math.floor(view.j * wide), last(view.j * wide, extent * wide, keys)];
        element("range").textContent = `queries ${rows.map((i) => grouped(i + data.offset)).join(" to ")} (down), keys ${columns.map(grouped).join(" to ")} (right)`;
      }
      const show = (changed) => { view = changed; draw(); };
      const place = (event) => {
        const box = canvas.getBoundingClientRect();
        return [(event.clientX - box.left) * size / box.width, (event.clientY - box.top) * size / box.height];
      };
      const zoom = (factor, x = size / 2, y = size / 2) => show(zoomed(view, factor, x, y, length, size));
      element("in").onclick = () => zoom(2);
      element("out").onclick = () => zoom(0.5);
      element("whole").onclick = () => show(whole);
      element("middle").onclick = () => {
        const last = levels[levels.length - 1], scale = last.side * last.rows / size;
        show(clamped({scale, i: last.first[0], j: last.first[1] / wide}, length, size));
      };
      canvas.onwheel = (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.25 : 0.8, ...place(event)); };
      canvas.onpointerdown = (event) => { held = {at: place(event), view}; canvas.setPointerCapture(event.pointerId); };
      canvas.onpointerup = () => { held = null; };
      canvas.onpointermove = (event) => {
        const [x, y] = place(event);
        if (held) {
          const [fromX, fromY] = held.at;
          show(clamped({...view, i: held.view.i + (fromY - y) * view.scale, j: held.view.j + (fromX - x) * view.scale}, length, size));
        }
        const i = Math.floor(view.i + y * view.scale), j = Math.floor((view.j + x * view.scale) * wide), cell = cellAt(levels, i, j);
        if (!cell) return;
        const what = cell.classes.map((kind, m) => `set ${m + 1} ${NAMES[kind]}`).join(", ");
        element("pair").textContent = `query ${grouped(i + data.offset)}, key ${grouped(j)}: ${what}` + (cell.side > 1 ? ` in its cell of ${cell.side} x ${cell.side}` : "");
      };
      if (data.sets.length > 1)
        data.sets.forEach((_, m) => {
          const button = made("button", {textContent: `set ${m + 1}`});
          button.onclick = () => { shown[m] = !shown[m]; pressed(button, shown[m]); pictures = levels.map(painted); draw(); };
          pressed(button, true);
          element("sets").append(button, " ");
        });
      draw();
    }

    // A figure of tiles; the caption tells the tile under the pointer.
    function tiles(figure, found, title) {
      const canvas = made("canvas", {width: found.columns, height: found.rows}), context = canvas.getContext("2d");
      const cells = decode(found.cells, found.rows * found.columns), image = context.createImageData(found.columns, found.rows);
      cells.forEach((kind, at) => { if (kind !== EMPTY) image.data.set([...TILE_COLOURS[kind], 255], 4 * at); });
      context.putImageData(image, 0, 0);
      const factor = 320 / Math.max(found.rows, found.columns);
      canvas.style.width = `${Math.max(factor * found.columns, 80)}px`;
      canvas.style.height = `${Math.max(factor * found.rows, 80)}px`;
      const counts = `${grouped(found.full)} FULL, ${grouped(found.partial)} PARTIAL, ${grouped(found.empty)} EMPTY`;
      const said = made("div", {className: "said", textContent: counts});
      canvas.onpointermove = (event) => {
        const box = canvas.getBoundingClientRect();
        const column = Math.floor((event.clientX - box.left) * found.columns / box.width);
        const row = Math.floor((event.clientY - box.top) * found.rows / box.height);
        if (row < 0 || column < 0 || row >= found.rows || column >= found.columns) return;
        const many = found.side > 1 ? ` to ${grouped((row + 1) * found.side - 1)}, ${grouped((column + 1) * found.side - 1)}` : "";
        said.textContent = `tile ${grouped(row * found.side)}, ${grouped(column * found.side)}${many}: ${NAMES[cells[row * found.columns + column]]}`;
      };
      canvas.onpointerleave = () => { said.textContent = counts; };
      figure.replaceChildren(made("div", {textContent: title}), canvas, said);
      return figure;
    }

    function choose(chosen) {
      const way = data.alternatives[chosen];
      element("after").replaceChildren(
        ...way.passes.map((pass, number) => {
          const title = `${way.name}, pass ${number + 1} of ${way.passes.length}: ${pass.layout}, ${grouped(pass.queries)} x ${grouped(pass.keys)}`;
          const figure = tiles(made("figure"), pass, title);
          figure.append(made("figcaption", {}, made("code", {textContent: pass.clause})));
          return figure;
        }),
        ...(way.note ? [made("p", {textContent: way.note})] : []));
      for (const button of element("costs").querySelectorAll("button")) pressed(button, button.dataset.way === String(chosen));
    }

    function costs() {
      const all = [...data.alternatives, {name: data.dense.name, ms: data.dense.predicted_ms, passes: null}];
      const most = Math.max(...all.map((way) => way.ms), 1e-9);
      element("costs").replaceChildren(
        ...all.map((way, number) => {
          const bar = made("div", {className: "bar"});
          bar.style.width = `${100 * way.ms / most}%`;
          const layouts = way.passes && way.passes.map((pass) => pass.layout).join(" + ");
          const label = way.passes ? made("button", {textContent: `${way.name} (${layouts || "nothing to do"})`}) : made("span", {textContent: way.name});
          if (way.passes) {
            label.dataset.way = String(number);
            label.onclick = () => choose(number);
          }
          return made("div", {className: number ? "cost" : "cost chosen"}, label, bar, made("span", {textContent: milliseconds(way.ms)}));
        }));
    }

    function owners() {
      const found = data.owners;
      if (!found || found.reason) {
        const why = found ? `${found.topology}: ${found.reason}` : "No topology was named: attncc show ... --topology 8xh100 shows how devices share the sequence, by simulation.";
        element("owners").append(made("p", {textContent: why}));
        return;
      }
      const bins = Math.max(...found.shares.flat().map(([first, count]) => first + count), 1), height = Math.max(8, Math.min(24, 480 / found.shares.length));
      const namespace = "http://www.w3.org/2000/svg";
      const drawn = (name, attributes) => {
        const shape = document.createElementNS(namespace, name);
        for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
        return shape;
      };
      const picture = drawn("svg", {viewBox: `0 0 ${bins} ${height * found.shares.length}`, preserveAspectRatio: "none", width: "100%", height: height * found.shares.length, id: "shares"});
      const said = made("div", {className: "said", textContent: "Point at a line."});
      found.shares.forEach((parts, line) => {
        const group = drawn("g", {fill: `hsl(${Math.round(360 * line / found.shares.length)} 60% 45%)`});
        for (const [first, count, percent] of parts) group.append(drawn("rect", {x: first, y: line * height, width: count, height: height - 1, opacity: 0.35 + 0.0065 * percent}));
        group.onpointerenter = () => { said.textContent = `${found.line} ${line} owns ${grouped(found.tokens[line])} tokens`; };
        picture.append(group);
      });
      const order = found.ordered ? "by position in the sequence" : "in the order that the partition cuts";
      element("owners").append(
        made("p", {textContent: `${found.topology}, simulated, forward, 8 heads of 64: ${found.partition} partition in units of ${grouped(found.unit)} tokens, ${found.exchange}; ${milliseconds(found.makespan_ms)}, most work of a rank ${found.imbalance.toFixed(2)} x the mean. Each line is a ${found.line}; tokens go right, ${order}.`}),
        picture, said);
    }

    map();
    tiles(element("before"), data.before, "before: all pairs in their order");
    costs();
    choose(0);
    owners();
  }

  return {decode, decoded, cellAt, zoomed, clamped, colour, grouped, milliseconds, mount};
})();

if (typeof module !== "undefined") module.exports = attncc;
else attncc.mount(document, JSON.parse(document.getElementById("data").textContent));
