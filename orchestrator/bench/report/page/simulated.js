// What `baton simulate` adds: what the pods did, and sweeps of a parameter.

const isSimulated = (run) => object(run).backend === 'simulated';
const toolOf = (run) => (isSimulated(run) ? 'baton simulate' : 'baton bench');
const simulatedNote = () =>
    el('div', {class: 'verdict simulated', role: 'status'},
       el('p', {}, el('b', {}, 'Simulated.'),
          ' Every figure here is of simulated pods in virtual time; none was measured.'));

const busyPods = (key, role) => (s) =>
    array(s.pods).some((p) => (object(p).role === 'prefill') === (role === 'prefill')) ?
    percent(s[key]) :
    'there are none';
const POD_FIGURES = [
  ['prefill pods busy', busyPods('prefill_busy', 'prefill')],
  ['decode pods busy', busyPods('decode_busy', 'decode')],
  ['most KV in use', (s) => percent(s.max_kv_usage)],
  ['prompt tokens reused', (s) => percent(s.reuse)],
  ['decode-only requests', (s) => percent(s.decode_only_share)],
  ['hand-offs', (s) => count(s.hand_offs)], ['KV moved', (s) => bytes(s.transferred_bytes)],
  ['exposed a hand-off', (s) => ms(s.exposed_transfer_ms)],
  ['preemptions', (s) => count(s.preemptions)], ['retries', (s) => count(s.retries)]
];

function podSection(run) {
  if (!run.system) return [];
  const system = object(run.system);
  return section(
      'What the pods did', facts(POD_FIGURES.map(([name, read]) => [name, read(system)])));
}

function podComparison(sides) {
  const systems = sides.map((s) => object(object(s.runs[0]).system));
  if (!systems.some((system) => num(system.duration_s) !== null)) return [];
  return section(
      'What the pods did',
      sides.some((s) => s.runs.length > 1) ? el('p', {class: 'note'}, 'In the first round.') : null,
      table(
          ['', ...sides.map((s) => s.name)],
          POD_FIGURES.map(([name, read]) => [textCell(name, 'name'), ...systems.map(read)]),
          {numeric: sides.map((_, i) => i + 1)}));
}

// The values themselves are the marks, but for those that would run into the one before.
function valueScale(values) {
  const low = smallest(values), high = largest(values);
  const log = low > 0 && high / low > 10, place = log ? Math.log : (v) => v;
  const span = place(high) - place(low) || 1;
  const at = (v) => (high === low ? 0.5 : 0.03 + 0.94 * (place(v) - place(low)) / span);
  const marks = [];
  for (const v of values) {
    if (!marks.length || at(v) - at(marks[marks.length - 1]) > 0.08) marks.push(v);
  }
  return {low, high, log, at, marks};
}

const SWEPT = [
  ['TTFT, mean', 'mean_ttft_ms'], ['TTFT, p99', 'p99_ttft_ms'], ['TPOT, p99', 'p99_tpot_ms'],
  ['Good requests', 'good_share']
];

function sweptPlot(sweep, [title, key]) {
  const {lines, values} = sweep, isShare = key === 'good_share';
  const shown = nums(lines.flatMap((l) => l.points.map((p) => p[key])));
  if (!shown.length) {
    return isShare ? null : el('figure', {}, el('h3', {}, title), nothing('No request gave one.'));
  }
  const y = isShare ? linear(0, 1, {exact: true}) : fitting(shown, {wanted: 5});
  const [divisor, unit] = isShare ? [0.01, '% of those offered'] : unitOfMs(y);
  const words = (v) => (isShare ? percent(v) : ms(v));
  const x = valueScale(values);
  const frame = new Frame(x, y, {left: 60, top: 30, width: 464, height: 220});
  frame
      .yAxis(
          `${unit}${y.log ? ' (logarithmic)' : ''}`,
          (v) => markText(Number((v / divisor).toPrecision(6))))
      .xAxis(sweep.axis + (x.log ? ' (logarithmic)' : ''));
  for (const line of lines) {
    frame.path(
        line.points.map((p) => [p.value, num(p[key])]),
        {class: `line c-${line.color}`, 'stroke-dasharray': line.dash});
    for (const p of line.points) {
      if (num(p[key]) === null) continue;
      frame.add(
          'circle',
          {cx: frame.px(p.value), cy: frame.py(p[key]), r: 3.4, class: `fill c-${line.color}`});
    }
  }
  const described = lines.map(
      (l) => `${l.name}: ${l.points.map((p) => `${words(p[key])} at ${p.value}`).join(', ')}`);
  const {picture, figure: node} = plot(
      title, `${title} over ${sweep.axis}. ${described.join('. ')}`, 540, 292, [frame],
      {key: lines.length > 1 ? lineLegend(lines) : null});
  const stops = values.map((value) => {
    const here = lines.map((l) => [l, l.points.find((p) => p.value === value)])
                     .filter(([, p]) => p && num(p[key]) !== null);
    return {
      x: frame.px(value),
      y: frame.top + frame.height / 2,
      title: `${sweep.parameter} ${markText(value)}${sweep.unit ? ` ${sweep.unit}` : ''}`,
      rows: here.map(([l, p]) => [l.name, words(p[key])]),
      dots: here.map(([l, p]) => [frame.px(value), frame.py(p[key]), l.color])
    };
  });
  readOut(picture, stops, frame);
  return node;
}

function sweptTable(sweep, hasSlo) {
  const heads = [
    sweep.axis, 'policy', 'TTFT mean', 'TTFT p99', 'TPOT mean', 'TPOT p99',
    ...(hasSlo ? ['good'] : []), 'reused', 'prefill busy', 'decode busy', 'failed'
  ];
  return table(
      heads,
      sweep.points.map(
          (p) =>
              [markText(p.value),
               sideCell(p.policy, sweep.lines.findIndex((l) => l.name === p.policy)),
               ms(p.mean_ttft_ms), ms(p.p99_ttft_ms), ms(p.mean_tpot_ms), ms(p.p99_tpot_ms),
               ...(hasSlo ? [percent(p.good_share)] : []), percent(p.reuse),
               percent(p.prefill_busy), percent(p.decode_busy), count(p.failed)]),
      {numeric: heads.map((_, i) => i).filter((i) => i !== 1)});
}

function parameterSweepPage(results) {
  const points = array(results.points)
                     .map(object)
                     .filter((p) => num(p.value) !== null)
                     .sort((a, b) => a.value - b.value);
  const parameter = text(results.parameter), unit = text(results.unit);
  const names = [...new Set(points.map((p) => text(p.policy)))];
  const bounds = sloWords(object(results.slo));
  const head = header(
      `baton simulate, sweep of ${parameter}`, names.join(' against ') || 'Sweep',
      [text(results.workload), bounds && `good is ${bounds}`].filter(Boolean).join('; '));
  if (!points.length) return [head, simulatedNote(), nothing('The sweep has no points.')];
  const sweep = {
    parameter,
    unit,
    axis: unit ? `${parameter}, ${unit}` : parameter,
    points,
    values: [...new Set(points.map((p) => p.value))],
    lines: names.map(
        (name, i) => ({name, ...sideStyle(i), points: points.filter((p) => p.policy === name)}))
  };
  const rounds = num(points[0].rounds) || 1;
  return [
    head, simulatedNote(),
    section(
        `What ${parameter} does`,
        rounds > 1 ? el('p', {class: 'note'}, `Means over ${count(rounds)} rounds.`) : null,
        el('div', {class: 'pair'}, SWEPT.map((s) => sweptPlot(sweep, s)).filter(Boolean)),
        sweptTable(sweep, Boolean(bounds))),
    chooser(
        points.map(
            (p) => ({run: object(p.run), name: `${parameter} ${markText(p.value)}, ${p.policy}`})),
        0)
  ];
}
