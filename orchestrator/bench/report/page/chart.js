// Numbers, elements, scales, frames and read-outs: what every plot is made of.

const SVG = document.getElementById('seed').namespaceURI;

const num = (v) => (typeof v === 'number' && Number.isFinite(v) ? v : null);
const nums = (list) => (Array.isArray(list) ? list : []).map(num).filter((v) => v !== null);
const object = (v) => (v && typeof v === 'object' && !Array.isArray(v) ? v : {});
const array = (v) => (Array.isArray(v) ? v : []);
const text = (v) => (v === null || v === undefined || v === '' ? '' : String(v));
const largest = (list) => list.reduce((a, b) => (b > a ? b : a), -Infinity);
const smallest = (list) => list.reduce((a, b) => (b < a ? b : a), Infinity);

// Children are nodes or text; data enters the page as text alone.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined) {
      node.append(child instanceof Node ? child : String(child));
    }
  }
  return node;
}
const el = (tag, attributes, ...children) =>
    fill(document.createElement(tag), attributes, children);
const sv = (tag, attributes, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);

// Three significant digits, thousands with commas.
function figure(v) {
  v = num(v);
  if (v === null) return '–';
  if (v === 0) return '0';
  const size = Math.abs(v);
  if (size < 0.001) return v.toExponential(1);
  const digits = size >= 100 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(size)));
  return v.toLocaleString('en-US', {maximumFractionDigits: digits});
}
function milliseconds(v) {
  v = num(v);
  if (v === null) return ['–', ''];
  return Math.abs(v) >= 10000 ? [figure(v / 1000), 's'] : [figure(v), 'ms'];
}
const ms = (v) => milliseconds(v).join(' ').trim();
function count(v) {
  v = num(v);
  return v === null ? '–' : Math.round(v).toLocaleString('en-US');
}
function percent(v) {
  v = num(v);
  if (v === null) return '–';
  const shown = (100 * v).toFixed(v > 0.999 || v < 0.1 ? 2 : 1);
  return (v < 1 && Number(shown) === 100 ? '> 99.99' : String(Number(shown))) + ' %';
}
function bytes(v) {
  v = num(v);
  if (v === null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; Math.abs(v) >= 1024 && i < units.length - 1; i++) v /= 1024;
  return `${figure(v)} ${units[i]}`;
}

// The step of the series 1, 2, 5, 10, … that is `rough` or more.
function step125(rough) {
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const part = rough / power;
  return power * (part <= 1.0001 ? 1 : part <= 2.0001 ? 2 : part <= 5.0001 ? 5 : 10);
}

// From 0 (or `low`) to a round number at or above `high`; `exact`: to `high` itself.
function linear(low, high, {wanted = 5, exact = false} = {}) {
  if (!(high > low)) high = low + 1;
  const step = step125((high - low) / wanted);
  const end = exact ? high : Math.ceil(high / step - 1e-9) * step;
  const marks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= end + step * 1e-9; i++)
    marks.push(i * step);
  return {low, high: end, marks, log: false, at: (v) => (v - low) / (end - low)};
}

function logarithmic(low, high, wanted = 7) {
  const floor = Math.log10(low), ceil = Math.log10(high);
  const every = [];
  for (let p = Math.floor(floor) - 1; p <= Math.ceil(ceil) + 1; p++) {
    for (const d of [1, 2, 5]) every.push(d * Math.pow(10, p));
  }
  const from = every.filter((v) => v <= low * 1.0001).pop();
  const to = every.find((v) => v >= high * 0.9999 && v > from);
  let marks = every.filter((v) => v >= from * 0.9999 && v <= to * 1.0001);
  if (marks.length > wanted + 3) {
    const decades = marks.filter((v) => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6);
    const skip = Math.ceil(decades.length / wanted);
    marks = decades.filter((_, i) => i % skip === 0);
  }
  const width = Math.log10(to) - Math.log10(from);
  return {
    low: from,
    high: to,
    marks,
    log: true,
    at: (v) => (Math.log10(Math.max(v, from)) - Math.log10(from)) / width
  };
}

// Logarithmic where the values span more than a factor of 30.
function fitting(values, {wanted = 6} = {}) {
  const high = Math.max(0, largest(values));
  const positive = values.filter((v) => v > 0);
  const low = positive.length ? smallest(positive) : 0;
  if (low > 0 && high / low > 30 && positive.length === values.length) {
    return logarithmic(low, high, wanted);
  }
  return linear(0, 1.02 * (high || 1), {wanted});
}

// Milliseconds, or seconds where they are many, for a scale: [what to divide by, unit].
const unitOfMs = ({low, high, log}) =>
    ((log ? low >= 1000 : high >= 10000) ? [1000, 's'] : [1, 'ms']);
// Seconds, minutes or hours.
const unitOfSeconds = (span) =>
    (span <= 240       ? [1, 's'] :
         span <= 14400 ? [60, 'min'] :
                         [3600, 'h']);

function markText(v) {
  if (v !== 0 && (Math.abs(v) < 0.001 || Math.abs(v) >= 1e7)) return v.toExponential(0);
  return Number(v.toPrecision(6)).toLocaleString('en-US', {maximumFractionDigits: 4});
}

// A drawing area with axes. `x` and `y` are scales; `left`, `top`, `width`, `height` are of the
// area between the axes, in the units of the SVG around it.
class Frame {
  constructor(x, y, box) {
    Object.assign(this, {x, y}, box);
    this.right = this.left + this.width;
    this.bottom = this.top + this.height;
    this.node = sv('g');
  }
  px(v) {
    return this.left + this.x.at(v) * this.width;
  }
  py(v) {
    return this.bottom - this.y.at(v) * this.height;
  }
  add(tag, attributes, ...children) {
    const node = sv(tag, attributes, ...children);
    this.node.append(node);
    return node;
  }
  line(x1, y1, x2, y2, kind) {
    return this.add('line', {x1, y1, x2, y2, class: kind});
  }
  label(x, y, words, attributes) {
    return this.add('text', {x, y, ...attributes}, words);
  }
  xAxis(title, show = markText, {grid = true} = {}) {
    for (const mark of this.x.marks) {
      const at = this.px(mark);
      if (grid) this.line(at, this.top, at, this.bottom, 'grid');
      this.label(at, this.bottom + 16, show(mark), {'text-anchor': 'middle'});
    }
    this.line(this.left, this.bottom, this.right, this.bottom, 'axis');
    if (title) this.label(this.right, this.bottom + 32, title, {'text-anchor': 'end'});
    return this;
  }
  yAxis(title, show = markText) {
    for (const mark of this.y.marks) {
      const at = this.py(mark);
      this.line(this.left, at, this.right, at, 'grid');
      this.label(this.left - 7, at + 4, show(mark), {'text-anchor': 'end'});
    }
    if (title) this.label(this.left, this.top - 9, title, {class: 'ink'});
    return this;
  }
  // A line through points [x, y]; where y is null the line breaks.
  path(points, attributes) {
    let d = '', pen = false;
    for (const [x, y] of points) {
      if (num(y) === null) {
        pen = false;
        continue;
      }
      d += `${pen ? 'L' : 'M'}${this.px(x).toFixed(1)} ${this.py(y).toFixed(1)}`;
      pen = true;
    }
    return d ? this.add('path', {d, ...attributes}) : null;
  }
  // Each value holds from its x to the next: `edges` has one element more than `values`.
  steps(edges, values, attributes) {
    const points = [];
    values.forEach((v, i) => points.push([edges[i], v], [edges[i + 1], v]));
    return this.path(points, attributes);
  }
}

function legend(entries, kind) {
  return el(
      'div', {class: kind ? `legend ${kind}` : 'legend'},
      entries.map(([color, words]) => el('span', {class: `c-${color}`}, words)));
}
// Of lines that are told apart by their dashes too: {name, color, dash}.
function lineLegend(lines) {
  const key = ({color, dash}) =>
      sv('svg', {width: 26, height: 10, 'aria-hidden': 'true'},
         sv('line',
            {x1: 0, x2: 26, y1: 5, y2: 5, class: `line c-${color}`, 'stroke-dasharray': dash}));
  return el('div', {class: 'legend lines'}, lines.map((l) => el('span', {}, key(l), l.name)));
}

function plot(title, description, width, height, frames, {key = null, note = null} = {}) {
  const picture =
      sv('svg',
         {class: 'plot', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': description},
         frames.map((f) => f.node || f));
  return {
    picture,
    figure:
        el('figure', {}, el('figcaption', {}, el('h3', {}, title), key), picture,
           note ? el('p', {class: 'note'}, note) : null)
  };
}
const nothing = (words) => el('p', {class: 'none'}, words);

const tip = document.getElementById('tip');
const spoken = document.getElementById('spoken');

function showTip(picture, x, y, title, rows) {
  tip.replaceChildren(
      el('b', {}, title),
      ...rows.map(([name, value]) => el('div', {}, el('span', {}, name), el('span', {}, value))));
  tip.hidden = false;
  const box = picture.getBoundingClientRect();
  const scale = box.width / picture.viewBox.baseVal.width;
  const left = box.left + x * scale + 14, room = document.documentElement.clientWidth - 8;
  const flip = left + tip.offsetWidth > room;
  tip.style.left = `${Math.max(4, flip ? left - 28 - tip.offsetWidth : left) + scrollX}px`;
  tip.style.top = `${box.top + y * scale + scrollY - tip.offsetHeight / 2}px`;
}

// Reads a plot out under the pointer, and under the arrow keys when it has the focus. `stops`:
// {x, y, title, rows, dots: [[x, y, color]]} from left to right, in the units of the picture.
function readOut(picture, stops, {top, bottom, left, right}) {
  if (!stops.length) return;
  const cursor = sv('g', {'aria-hidden': 'true'});
  picture.append(cursor);
  picture.setAttribute('tabindex', '0');
  let current = -1;
  const show = (i, say) => {
    current = Math.max(0, Math.min(stops.length - 1, i));
    const stop = stops[current];
    cursor.replaceChildren(
        sv('line', {x1: stop.x, x2: stop.x, y1: top, y2: bottom, class: 'cursor'}),
        ...(stop.dots || [])
            .map(([cx, cy, color]) => sv('circle', {cx, cy, r: 3.6, class: `ring c-${color}`})));
    showTip(picture, stop.x, stop.y, stop.title, stop.rows);
    if (say) spoken.textContent = `${stop.title}: ${stop.rows.map((r) => r.join(' ')).join(', ')}`;
  };
  const hide = () => {
    cursor.replaceChildren();
    tip.hidden = true;
  };
  picture.addEventListener('pointermove', (event) => {
    const box = picture.getBoundingClientRect();
    const scale = box.width / picture.viewBox.baseVal.width;
    const x = (event.clientX - box.left) / scale, y = (event.clientY - box.top) / scale;
    if (x < left - 8 || x > right + 8 || y < top - 8 || y > bottom + 8) return hide();
    let best = 0, distance = Infinity;
    stops.forEach((stop, i) => {
      const d = Math.abs(stop.x - x) + 0.2 * Math.abs(stop.y - y);
      if (d < distance) {
        distance = d;
        best = i;
      }
    });
    show(best, false);
  });
  picture.addEventListener('pointerleave', hide);
  picture.addEventListener('blur', hide);
  picture.addEventListener('keydown', (event) => {
    const moves = {ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: stops.length - 1};
    if (event.key === 'Escape') return hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key], true);
  });
}
