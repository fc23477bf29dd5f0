// Sweeps and comparisons: files of several runs.

const pointRate = (run) => num(run.request_rate);

function sweepPlots(sweep, points) {
  const drawn =
      points.filter((p) => pointRate(p) !== null).sort((a, b) => pointRate(a) - pointRate(b));
  if (!drawn.length) return nothing('No point of this sweep has a rate.');
  const best = num(object(sweep.best).request_rate), knee = num(object(sweep.knee).request_rate);
  return el(
      'div', {class: 'pair'}, goodputPlot(drawn, object(sweep.best), knee),
      sweepLatencyPlot(drawn, best, knee, num(object(sweep.slo).ttft_ms)));
}
const goodputOf = (run) => num(run.request_goodput) ?? num(run.request_throughput);
const isSound = (run) => object(run.baton).sound !== false;

function sweepFrame(drawn, y, knee) {
  const top = largest(drawn.map(pointRate));
  const frame =
      new Frame(linear(0, top, {wanted: 6}), y, {left: 52, top: 30, width: 470, height: 250});
  frame.knee = () => {
    if (knee === null) return;
    const at = frame.px(knee), late = at > frame.left + 0.8 * frame.width;
    frame.line(at, frame.top, at, frame.bottom, 'bound');
    frame.label(
        late ? at - 5 : at + 5, frame.top + 12, `knee ${figure(knee)}/s`,
        {class: 'ink halo', 'text-anchor': late ? 'end' : 'start'});
  };
  return frame;
}

function drawPoints(frame, drawn, valueOf, color, best) {
  const rates = [...new Set(drawn.map(pointRate))];  // a rate may have been run more than once
  frame.path(
      rates.map((rate) => {
        const values = nums(drawn.filter((p) => pointRate(p) === rate).map(valueOf));
        return [rate, values.length ? values.reduce((a, b) => a + b, 0) / values.length : null];
      }),
      {class: `line c-${color}`});
  for (const p of drawn) {
    const value = valueOf(p);
    if (value === null) continue;
    const at = {cx: frame.px(pointRate(p)), cy: frame.py(value)};
    frame.add('circle', {...at, r: 4, class: `${isSound(p) ? 'fill' : 'ring'} c-${color}`});
    if (pointRate(p) === best) frame.add('circle', {...at, r: 8, class: 'line c-ink'});
  }
}

function goodputPlot(drawn, found, knee) {
  const best = num(found.request_rate), goodput = num(found.request_goodput);
  const high =
      Math.max(largest(drawn.map(pointRate)), largest(drawn.map((p) => goodputOf(p) ?? 0)));
  const frame = sweepFrame(drawn, linear(0, high, {wanted: 6}), knee);
  frame.yAxis('goodput, requests per second').xAxis('offered rate, requests per second');
  const end = Math.min(frame.x.high, frame.y.high);
  frame.path([[0, 0], [end, end]], {class: 'diagonal'});
  frame.knee();
  drawPoints(frame, drawn, goodputOf, 'blue', best);
  if (best !== null && goodput !== null) {
    const x = frame.px(best), late = x > frame.left + 0.35 * frame.width;
    frame.label(
        late ? x - 13 : x + 13, frame.py(goodput) - 10, `best ${figure(goodput)}/s`,
        {class: 'strong halo', 'text-anchor': late ? 'end' : 'start'});
  }
  const {picture, figure: node} = plot(
      'Rate against goodput',
      `Goodput over offered rate: ${
          drawn.map((p) => `${figure(goodputOf(p))} at ${figure(pointRate(p))}`)
              .join(', ')} requests per second`,
      540, 322, [frame], {
        note: `Dotted: all that is offered is good.${
            drawn.some((p) => !isSound(p)) ? ' Hollow: unsound.' : ''}`
      });
  readOut(picture, sweepStops(frame, drawn, goodputOf, 'blue'), frame);
  return node;
}

// From the schedule, as goodput judges it.
function dueTtft(run, statistic) {
  const ttft = object(object(object(run.baton).from_schedule).ttft);
  return latency(run, `${statistic}_ttft_ms`) === null ? null : num(ttft[statistic]);
}

function sweepLatencyPlot(drawn, best, knee, bound) {
  const series =
      [['p99', 'red', (p) => dueTtft(p, 'p99')], ['median', 'blue', (p) => dueTtft(p, 'median')]];
  const values = nums(series.flatMap(([, , of]) => drawn.map(of)));
  if (!values.length)
    return el('figure', {}, el('h3', {}, 'TTFT'), nothing('No request completed at any rate.'));
  const frame =
      sweepFrame(drawn, fitting(bound === null ? values : [...values, bound], {wanted: 5}), knee);
  const [divisor, unit] = unitOfMs(frame.y);
  frame.yAxis(`TTFT, ${unit}${frame.y.log ? ' (logarithmic)' : ''}`, (v) => markText(v / divisor))
      .xAxis('offered rate, requests per second');
  if (bound !== null) {
    const y = frame.py(bound);
    frame.line(frame.left, y, frame.right, y, 'bound');
    frame.label(frame.left + 6, y - 5, `SLO ${ms(bound)}`, {class: 'ink halo'});
  }
  frame.knee();
  for (const [, color, of] of series) drawPoints(frame, drawn, of, color, best);
  const {picture, figure: node} = plot(
      'TTFT as the rate grows',
      `TTFT p99 from the schedule over offered rate: ${
          drawn.map((p) => `${ms(dueTtft(p, 'p99'))} at ${figure(pointRate(p))} per second`)
              .join(', ')}`,
      540, 322, [frame], {
        key: legend(series.map(([name, color]) => [color, name])),
        note: 'From the time at which requests were due. Ringed: the best point.'
      });
  readOut(picture, sweepStops(frame, drawn, series[0][2], 'red'), frame);
  return node;
}

function sweepStops(frame, drawn, valueOf, color) {
  return drawn.map((p) => {
    const y = valueOf(p) === null ? frame.bottom : frame.py(valueOf(p)), x = frame.px(pointRate(p));
    return {
      x,
      y,
      title: `offered ${figure(pointRate(p))}/s`,
      dots: [[x, y, color]],
      rows: [
        ['goodput', `${figure(goodputOf(p))}/s`],
        ['completed', `${figure(p.request_throughput)}/s`],
        ['TTFT median, from due', ms(dueTtft(p, 'median'))],
        ['TTFT p99, from due', ms(dueTtft(p, 'p99'))],
        ['TPOT median', ms(latency(p, 'median_tpot_ms'))], ...(isSound(p) ? [] : [['unsound', '']])
      ]
    };
  });
}

function sweepTable(points, best) {
  const body = table(
      [
        'offered', 'goodput', 'good', 'completed', 'TTFT median', 'TTFT p99', 'TPOT median',
        'TPOT p99', 'output', ''
      ],
      points.map(
          (p) =>
              [typeof p.request_rate === 'string' ? p.request_rate : `${figure(p.request_rate)}/s`,
               `${figure(goodputOf(p))}/s`, percent(object(object(p.baton).goodput).share),
               count(p.completed), ms(latency(p, 'median_ttft_ms')), ms(latency(p, 'p99_ttft_ms')),
               ms(latency(p, 'median_tpot_ms')), ms(latency(p, 'p99_tpot_ms')),
               `${figure(p.output_throughput)} tokens/s`,
               [
                 pointRate(p) !== null && pointRate(p) === best ? 'best' : '',
                 isSound(p) ? '' : 'unsound', object(p.baton).partial === true ? 'partial' : ''
               ].filter(Boolean)
                   .join(', ')]),
      {numeric: [0, 1, 2, 3, 4, 5, 6, 7, 8]});
  points.forEach((p, i) => {
    if (best !== null && pointRate(p) === best)
      body.querySelectorAll('tbody tr')[i].className = 'chosen';
  });
  return body;
}

const LESS_IS_BETTER = /_(ttft|tpot|itl|e2el)_ms$|^failed$/;
const metricWords = (key) => {
  if (key === 'paired_ttft_ms') return 'TTFT, request by request';
  const m = /^(mean|median|std|p[\d.]+)_(ttft|tpot|itl|e2el)_ms$/.exec(key);
  return m ? `${METRICS[m[2]][0]} ${m[1]}` : key.replace(/_/g, ' ');
};

const pairWords = (r) =>
    ({requests: 'requests', rounds: 'rounds', 'one round': 'round'}[r.basis] || 'pairs');

// better, worse, even or no interval, as the interval of a ratio tells.
function leaning(r) {
  const {low, high} = r;
  if (num(low) === null || num(high) === null) return ['no interval', 'grey'];
  if (low <= 1 && high >= 1) return ['even', 'grey'];
  return (high < 1) === LESS_IS_BETTER.test(r.metric) ? ['better', 'blue'] : ['worse', 'red'];
}

function forestPlot(ratios) {
  const rows = ratios.map(object).filter((r) => num(r.ratio) > 0);
  if (!rows.length) return nothing('No pair of runs gave a ratio.');
  const ends = rows.flatMap((r) => [r.ratio, num(r.low), num(r.high)]).filter((v) => v > 0);
  const reach = Math.max(largest(ends), 1 / smallest(ends), 1.05) * 1.03;
  const x = ratioScale(reach);
  const row = 30, left = 214;
  const frame =
      new Frame(x, linear(0, 1), {left, width: 440, top: 12, height: rows.length * row + 4});
  frame.xAxis('ratio (logarithmic)', (v) => `${markText(v)}×`);
  frame.line(frame.px(1), frame.top, frame.px(1), frame.bottom, 'axis');
  const several = new Set(rows.map((r) => `${r.side}/${r.base}`)).size > 1;
  const bases = new Set(rows.map((r) => text(r.base)));
  const title = !several ? `${text(rows[0].side)} over ${text(rows[0].base)}` :
      bases.size === 1 ? `Ratios, each over ${[...bases][0]}` :
                         'Ratios';
  rows.forEach((r, i) => {
    const y = frame.top + i * row + row / 2 + 2, [verdict, color] = leaning(r);
    const words = metricWords(text(r.metric));
    const name = !several ? words :
        bases.size === 1  ? `${text(r.side)}: ${words}` :
                            `${words}, ${text(r.side)} / ${text(r.base)}`;
    frame.label(
        left - 12, y + 4, name.length > 32 ? `${name.slice(0, 31)}…` : name,
        {'text-anchor': 'end', class: 'ink'});
    const low = num(r.low), high = num(r.high);
    if (low > 0 && high > 0) {
      const a = frame.px(low), b = frame.px(high);
      const d = `M${a} ${y}H${b}M${a} ${y - 5}V${y + 5}M${b} ${y - 5}V${y + 5}`;
      frame.add('path', {d, class: `line c-${color}`});
    }
    frame.add(
        'rect',
        {x: frame.px(r.ratio) - 4.5, y: y - 4.5, width: 9, height: 9, class: `fill c-${color}`});
    const span = low === null || high === null ? '' : `  [${low.toFixed(3)}, ${high.toFixed(3)}]`;
    frame.label(frame.right + 16, y + 4, `${r.ratio.toFixed(3)}${span}`, {class: 'strong'});
    frame.label(
        frame.right + 182, y + 4,
        `${verdict}, ${count(r.pairs)} ${pairWords(r)}${
            num(r.p_sign) === null ? '' :
                                     `, p ${r.p_sign < 0.001 ? '< 0.001' : figure(r.p_sign)}`}`);
  });
  return plot(
             title,
             `${title}: ${
                 rows.map(
                         (r) => `${metricWords(text(r.metric))} ${r.ratio.toFixed(3)}, ${
                             leaning(r)[0]}`)
                     .join('; ')}`,
             1080, frame.bottom + 38, [frame], {
               key: legend(
                   [['blue', 'better'], ['grey', 'no difference shown'], ['red', 'worse']],
                   'block'),
               note: 'Ratio of pairs, with its 95 % interval; p is of the sign test. Below 1 ' +
                   'is better for latencies, above 1 for throughput.'
             })
      .figure;
}

// Logarithmic, symmetric about 1, with round marks.
function ratioScale(reach) {
  const width = Math.log(reach);
  const rough =
      [1.02, 1.05, 1.1, 1.2, 1.5, 2, 5, 10, 100, 1000].find((s) => Math.log(s) >= width / 4) ||
      1000;
  const ladder = {1.02: 0.02, 1.05: 0.05, 1.1: 0.1, 1.2: 0.2}[rough];
  const marks = [1];
  if (ladder) {
    for (let v = 1 + ladder; v <= reach; v += ladder) marks.push(Number(v.toFixed(4)));
    for (let v = 1 - ladder; v >= 1 / reach; v -= ladder) marks.push(Number(v.toFixed(4)));
  } else {
    for (let v = rough; v <= reach; v *= rough) marks.push(v, Number((1 / v).toPrecision(3)));
  }
  return {
    low: 1 / reach,
    high: reach,
    marks,
    log: true,
    at: (v) => 0.5 + Math.log(v) / (2 * width)
  };
}

// The quantiles of several runs, averaged one by one.
function meanCdf(cdfs) {
  const whole = cdfs.map(nums).filter((c) => c.length > 1);
  if (!whole.length) return [];
  const length = smallest(whole.map((c) => c.length));
  return Array.from({length}, (_, i) => whole.reduce((sum, c) => sum + c[i], 0) / whole.length);
}

function comparisonCdfs(sides) {
  const slo = sloOf(object(sides.flatMap((s) => s.runs)[0]));
  return el(
      'div', {class: 'pair'},
      Object.keys(METRICS).map(
          (m) => cdfPlot(
              m, sides.flatMap((side, i) => {
                const all = side.runs.map((r) => object(object(r.baton).cdf)[m]);
                const {color, dash} = sideStyle(i);
                return [
                  {name: side.name, color, cdf: meanCdf(all), dash},
                  ...(all.length > 1 ?
                          all.map((cdf) => ({name: side.name, color, cdf, faint: true})) :
                          [])
                ];
              }),
              num(slo[`${m}_ms`]))));
}

function middleOf(runs, key) {
  const values =
      nums(runs.map((r) => (/_ms$/.test(key) ? latency(r, key) : r[key]))).sort((a, b) => a - b);
  const half = values.length >> 1;
  return !values.length ? null :
      values.length % 2 ? values[half] :
                          (values[half - 1] + values[half]) / 2;
}

const sideCell = (name, i) =>
    el('td', {class: 'name'}, el('span', {class: `swatch c-${sideStyle(i).color}`}, name));

function sideTable(sides) {
  const known = sides.some((s) => s.target);  // simulated sides have none
  const heads = [
    '', ...(known ? ['target'] : []), 'runs', 'TTFT median', 'TTFT p99', 'TPOT median',
    'E2E median', 'output', 'failed'
  ];
  return table(
      heads,
      sides.map(
          (s, i) =>
              [sideCell(s.name, i), ...(known ? [textCell(s.target)] : []), count(s.runs.length),
               ms(middleOf(s.runs, 'median_ttft_ms')), ms(middleOf(s.runs, 'p99_ttft_ms')),
               ms(middleOf(s.runs, 'median_tpot_ms')), ms(middleOf(s.runs, 'median_e2el_ms')),
               `${figure(middleOf(s.runs, 'output_throughput'))} tokens/s`,
               count(nums(s.runs.map((r) => r.failed)).reduce((a, b) => a + b, 0))]),
      {numeric: heads.map((_, i) => i).filter((i) => i > (known ? 1 : 0))});
}
