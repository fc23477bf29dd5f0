// The plots: each takes data and returns a figure, or a line that says why there is none.

const METRICS = {
  ttft: ['TTFT', 'time to first token'],
  tpot: ['TPOT', 'time per output token'],
  itl: ['ITL', 'inter-token latency'],
  e2el: ['E2E', 'end-to-end latency']
};
const SIDES = ['blue', 'red', 'green', 'purple', 'orange', 'sky'];
const DASHES = [null, '7 3', '2 3', '9 3 2 3', '4 4', '1 4'];
// How the lines of side `i` are drawn.
const sideStyle = (i) => ({
  color: SIDES[i % SIDES.length],
  dash: DASHES[(i + Math.floor(i / SIDES.length)) % DASHES.length]
});
const STAGES = [
  ['plan', 'plan', 'grey'], ['prefill_queue', 'prefill queue', 'sky'],
  ['prefill', 'prefill', 'blue'], ['decode_queue', 'decode queue', 'yellow'],
  ['exposed_transfer', 'exposed transfer', 'red'], ['first_step', 'first decode step', 'green'],
  ['other', 'other', 'purple']
];

const quantileAt = (cdf, q) => cdf[Math.round(q * (cdf.length - 1))];

// `curves`: [{name, color, cdf, dash, faint}], cdf being evenly spaced quantiles from 0 to 100 %.
// `bound`: the SLO in ms, or null.
function cdfPlot(metric, curves, bound) {
  const [short, long] = METRICS[metric];
  curves = curves.map((c) => ({...c, cdf: nums(c.cdf)})).filter((c) => c.cdf.length > 1);
  if (!curves.length) {
    return el(
        'figure', {}, el('figcaption', {}, el('h3', {}, `${short}, ${long}`)),
        nothing(`The result holds no distribution of ${short}.`));
  }
  const values = curves.flatMap((c) => c.cdf);
  const x = fitting(bound === null ? values : [...values, bound]);
  const [divisor, unit] = unitOfMs(x);
  const width = 540, height = 262;
  const frame = new Frame(
      x, linear(0, 1, {wanted: 4, exact: true}), {left: 46, top: 26, width: 478, height: 190});
  frame.y.marks = [0, 0.25, 0.5, 0.75, 0.9, 1];
  frame.yAxis('share of requests at or below', (v) => `${Math.round(100 * v)} %`)
      .xAxis(`${short}, ${unit}${x.log ? ' (logarithmic)' : ''}`, (v) => markText(v / divisor));
  if (bound !== null) drawBound(frame, bound);
  for (const c of curves) {
    frame.path(
        c.cdf.map((v, i) => [v, i / (c.cdf.length - 1)]),
        {class: `line c-${c.color}${c.faint ? ' thin' : ''}`, 'stroke-dasharray': c.dash});
  }
  const main = curves.filter((c) => !c.faint);
  const described = main.map(
      (c) => `${c.name}: median ${ms(quantileAt(c.cdf, 0.5))}, p99 ${ms(quantileAt(c.cdf, 0.99))}`);
  const {picture, figure: node} = plot(
      `${short}, ${long}`, `Distribution of ${short}. ${described.join('. ')}`, width, height,
      [frame], {key: main.length > 1 ? lineLegend(main) : null});
  const first = main[0];
  readOut(
      picture, first.cdf.map((v, i) => {
        const share = i / (first.cdf.length - 1);
        return {
          x: frame.px(v),
          y: frame.py(share),
          title: `p${figure(100 * share)}`,
          rows: main.map((c) => [main.length > 1 ? c.name : short, ms(quantileAt(c.cdf, share))]),
          dots: main.map((c) => [frame.px(quantileAt(c.cdf, share)), frame.py(share), c.color])
        };
      }),
      frame);
  return node;
}

function drawBound(frame, bound) {
  const at = frame.px(bound), late = at > frame.left + 0.7 * frame.width;
  frame.line(at, frame.top, at, frame.bottom, 'bound');
  frame.label(
      late ? at - 5 : at + 5, frame.bottom - 8, `SLO ${ms(bound)}`,
      {'text-anchor': late ? 'end' : 'start', class: 'ink halo'});
}

// Seconds of a long run in buckets, so that no more than `most` are drawn.
function buckets(timeline, most = 360) {
  const seconds = timeline.map(object).filter((s) => num(s.second) !== null);
  if (!seconds.length) return null;
  const begin = seconds[0].second, end = seconds[seconds.length - 1].second + 1;
  const size = end - begin <= most ? 1 : step125((end - begin) / most);
  const rows = [];
  for (const s of seconds) {
    const i = Math.floor((s.second - begin) / size);
    (rows[i] = rows[i] || []).push(s);
  }
  const total = Math.max(1, Math.ceil((end - begin) / size));
  const edges = Array.from({length: total + 1}, (_, i) => Math.min(begin + i * size, end));
  const of = (key, join) => Array.from({length: total}, (_, i) => {
    const found = nums((rows[i] || []).map((s) => s[key]));
    return found.length ? join(found, edges[i + 1] - edges[i]) : null;
  });
  const rate = (list, span) => list.reduce((a, b) => a + b, 0) / span;
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const middle = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
  return {
    size,
    edges,
    offered: of('offered', rate),
    completed: of('completed', rate),
    failed: of('failed', rate),
    running: of('running', mean),
    output_tokens: of('output_tokens', rate),
    median_ttft_ms: of('median_ttft_ms', middle)
  };
}

const PANELS = [
  ['requests per second', [['offered', 'grey'], ['completed', 'blue'], ['failed', 'red']]],
  ['running requests', [['running', 'purple']]],
  ['output tokens per second', [['output_tokens', 'green']]],
  ['median TTFT, ms', [['median_ttft_ms', 'orange']]]
];

// One row of the timeline. `edges` and `measured` are in the unit of the scale `x`.
function timelinePanel(data, edges, measured, x, [title, series], box) {
  const values = series.flatMap(([name]) => nums(data[name]));
  const y = linear(0, Math.max(0, largest(values)) || 1, {wanted: 3});
  if (!values.some(Boolean)) y.marks = [0, 1];
  const frame = new Frame(x, y, box);
  if (measured) drawShade(frame, measured);
  frame.yAxis(title).xAxis(null, box.showMark);
  if (!values.some(Boolean)) {
    const middle = {'text-anchor': 'middle'};
    frame.label(
        frame.left + box.width / 2, frame.top + box.height / 2 + 4, 'none in this run', middle);
  }
  for (const [name, color] of series) {
    if (series.length === 1) drawArea(frame, edges, data[name], color);
    frame.steps(edges, data[name], {class: `line c-${color}${name === 'offered' ? ' wide' : ''}`});
  }
  return frame;
}

function drawShade(frame, {from, to}) {
  const x = Math.max(frame.left, frame.px(from));
  const width = Math.min(frame.right, frame.px(to)) - x;
  if (width > 0) frame.add('rect', {x, width, y: frame.top, height: frame.height, class: 'shade'});
}

function timelineStops(data, edges, frame, y) {
  return data.edges.slice(0, -1).map(
      (e, i) => ({
        x: (frame.px(edges[i]) + frame.px(edges[i + 1])) / 2,
        y,
        title: data.size > 1 ? `${count(e)} to ${count(data.edges[i + 1])} s` :
                               `second ${count(e)}`,
        rows: [
          ['offered', `${figure(data.offered[i])}/s`],
          ['completed', `${figure(data.completed[i])}/s`],
          ['failed', `${figure(data.failed[i])}/s`], ['running', figure(data.running[i])],
          ['output tokens', `${figure(data.output_tokens[i])}/s`],
          ['median TTFT', ms(data.median_ttft_ms[i])]
        ]
      }));
}

function timelineNote(size, measured) {
  const shaded = measured ? 'Shaded: the steady window. ' : '';
  const steps = size > 1 ? `Each step stands for ${count(size)} seconds: rates are means, ` +
          'TTFT the median of the seconds\' medians.' :
                           '';
  return shaded + steps || null;
}

// `measured`: {from, to} in seconds, or null.
function timelinePlot(timeline, measured) {
  const data = buckets(array(timeline));
  if (!data) return nothing('The result holds no timeline.');
  const begin = data.edges[0], end = data.edges[data.edges.length - 1];
  const [divisor, unit] = unitOfSeconds(end - begin);
  const x = linear(begin / divisor, end / divisor, {wanted: 10, exact: true});
  const edges = data.edges.map((e) => e / divisor);
  const shade = measured && {from: measured.from / divisor, to: measured.to / divisor};
  const frames = PANELS.map((panel, row) => timelinePanel(data, edges, shade, x, panel, {
                              left: 62,
                              width: 1004,
                              top: 24 + row * 132,
                              height: 96,
                              showMark: row === PANELS.length - 1 ? markText : () => ''
                            }));
  const first = frames[0], last = frames[frames.length - 1];
  const caption = `time since the start, ${unit}`;
  last.label(last.right, last.bottom + 32, caption, {'text-anchor': 'end'});
  const description = `Timeline of ${figure(end - begin)} seconds: requests offered, completed ` +
      'and failed, running requests, output tokens and median TTFT';
  const {picture, figure: node} =
      plot('Each second of the run', description, 1080, last.bottom + 38, frames, {
        key: legend([['grey', 'offered'], ['blue', 'completed'], ['red', 'failed']]),
        note: timelineNote(data.size, measured)
      });
  readOut(
      picture, timelineStops(data, edges, first, frames[1].top),
      {top: first.top, bottom: last.bottom, left: first.left, right: first.right});
  return node;
}

function drawArea(frame, edges, values, color) {
  let d = '';
  values.forEach((v, i) => {
    if (num(v) === null) return;
    const a = frame.px(edges[i]).toFixed(1), b = frame.px(edges[i + 1]).toFixed(1);
    d += `M${a} ${frame.bottom}V${frame.py(v).toFixed(1)}H${b}V${frame.bottom}Z`;
  });
  if (d) frame.add('path', {d, class: `area c-${color}`});
}

function splitPlot(stages) {
  const present = STAGES.filter(([key]) => stages[key]);
  const rows = ['mean', 'p90', 'p99'].map(
      (name) => [name, present.map(([key, words, color]) => ({
                                     words,
                                     color,
                                     ms: Math.max(0, num(object(stages[key])[name]) || 0)
                                   }))]);
  const totals = rows.map(([, parts]) => parts.reduce((sum, p) => sum + p.ms, 0));
  const x = linear(0, largest(totals) || 1, {wanted: 8});
  const [divisor, unit] = unitOfMs(x);
  const high = 34, gap = 14, top = 8;
  const frame = new Frame(
      x, linear(0, 1), {left: 52, width: 1000, top, height: rows.length * (high + gap) - gap + 8});
  frame.xAxis(`${unit} of TTFT`, (v) => markText(v / divisor));
  rows.forEach(([name, parts], row) => {
    const y = top + row * (high + gap) + 2;
    frame.label(frame.left - 9, y + high / 2 + 4, name, {'text-anchor': 'end', class: 'ink'});
    let sum = 0;
    for (const part of parts) {
      const from = frame.px(sum), to = frame.px(sum += part.ms);
      if (to - from < 0.3) continue;
      frame.add(
          'rect', {
            x: from,
            y,
            width: Math.max(0.5, to - from - 1),
            height: high,
            rx: 2,
            class: `fill c-${part.color}`
          },
          sv('title', {}, `${name}, ${part.words}: ${ms(part.ms)}`));
      const words = [`${part.words} ${ms(part.ms)}`, ms(part.ms)].find(
          (w) => w.length * 6.4 < to - from - 10);
      if (words) {
        frame.label((from + to) / 2, y + high / 2 + 4, words, {
          'text-anchor': 'middle',
          class: part.color === 'blue' ? 'inside on-blue' : 'inside',
          'pointer-events': 'none'
        });
      }
    }
  });
  return plot(
             'Stages of the first token',
             `Stages of TTFT, mean: ${rows[0][1].map((p) => `${p.words} ${ms(p.ms)}`).join(', ')}`,
             1080, frame.bottom + 38, [frame], {
               key: legend(present.map(([, words, color]) => [color, words]), 'block'),
               note: 'The rows p90 and p99 stack the percentile of each stage by itself; ' +
                   'their length is not the percentile of TTFT.'
             })
      .figure;
}

// Horizontal bars of counts by name, largest first.
function countBars(title, counts, color, most = 16) {
  const all = Object.entries(object(counts))
                  .map(([name, n]) => [name, num(n) || 0])
                  .sort((a, b) => b[1] - a[1]);
  if (!all.length) return null;
  const shown = all.slice(0, most), total = all.reduce((sum, [, n]) => sum + n, 0);
  const row = 22, left = 170, x = linear(0, shown[0][1] || 1, {exact: true});
  const frame = new Frame(x, linear(0, 1), {left, width: 230, top: 4, height: shown.length * row});
  shown.forEach(([name, n], i) => {
    const y = frame.top + i * row;
    const cut = name.length > 24 ? `${name.slice(0, 9)}…${name.slice(-14)}` : name;
    frame.label(left - 8, y + 15, cut, {'text-anchor': 'end', class: 'ink'})
        .append(sv('title', {}, name));
    frame.add('rect', {
      x: left,
      y: y + 3,
      width: Math.max(1, frame.px(n) - left),
      height: row - 7,
      rx: 2,
      class: `fill c-${color}`
    });
    frame.label(
        Math.max(left + 1, frame.px(n)) + 6, y + 15,
        `${count(n)}  (${percent(total ? n / total : 0)})`);
  });
  return plot(
             title, `${title}: ${shown.map(([name, n]) => `${name} ${count(n)}`).join(', ')}`, 520,
             frame.bottom + 4, [frame],
             {note: all.length > most ? `and ${all.length - most} more` : null})
      .figure;
}
