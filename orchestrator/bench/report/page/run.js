// The sections of one run.

function table(heads, rows, {numeric = []} = {}) {
  const kind = (i) => (numeric.includes(i) ? 'n' : null);
  return el(
      'div', {class: 'scroll'},
      el('table', {},
         el('thead', {},
            el('tr', {}, heads.map((h, i) => el('th', {class: kind(i), scope: 'col'}, h)))),
         el('tbody', {},
            rows.map(
                (row) =>
                    el('tr', {},
                       row.map(
                           (cell, i) =>
                               cell instanceof Node ? cell : el('td', {class: kind(i)}, cell)))))));
}
const textCell = (words, kind = 'text') => el('td', {class: kind}, words);
const section = (title, ...content) => [el('h2', {}, title), ...content];
const facts = (pairs, kind) =>
    el('dl', {class: `facts ${kind || ''}`},
       pairs.filter(([, value]) => text(value) !== '')
           .map(
               ([name, value, wide]) =>
                   [el('dt', {class: wide ? 'wide' : null}, name),
                    el('dd', {class: wide ? 'wide' : null}, value)]));

function sloOf(run) {
  return object(object(object(run.baton).goodput).slo);
}
function sloWords(slo) {
  return Object.keys(METRICS)
      .filter((m) => num(slo[`${m}_ms`]) !== null)
      .map((m) => `${METRICS[m][0]} ≤ ${ms(slo[`${m}_ms`])}`)
      .join(', ');
}
function hasLatencies(run) {
  return (num(run.completed) || 0) > 0;
}
// null where no request gave the metric: the vLLM keys then hold 0.
function latency(run, key) {
  const metric = key.split('_')[1];
  const unmeasured = array(object(run.baton).unmeasured).includes(metric);
  return hasLatencies(run) && !unmeasured ? num(run[key]) : null;
}

function rateWords(run) {
  if (run.request_rate === undefined) return '';
  const limit = num(run.max_concurrency);
  const atMost = limit === null ? '' : `, at most ${count(limit)} at once`;
  if (num(run.request_rate) === null) {
    return limit === null ? 'all at once' : `closed loop, ${count(limit)} at once`;
  }
  const b = run.burstiness;
  const shape = num(b) === null ? (b === 'inf' ? ', constant gaps' : '') :
      b === 1                   ? ', Poisson' :
                                  `, gamma with burstiness ${figure(b)}`;
  return `${figure(run.request_rate)} requests/s${shape}${atMost}`;
}
function dateWords(date) {
  const m = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)$/.exec(text(date));
  return m ? `${m[1]}-${m[2]}-${m[3]} ${m[4]}:${m[5]}:${m[6]}` : text(date);
}
function promptWords(baton) {
  const error = object(baton.prompt_error);
  const off = num(error.max_tokens_off);
  if (!baton.prompt_source) return '';
  return text(baton.prompt_source) +
      (num(error.sampled) && off !== null ?
           ` (${count(error.sampled)} checked, at most ${count(off)} tokens off)` :
           '');
}

function runFacts(run) {
  const baton = object(run.baton);
  return facts([
    ['target', baton.target], ['model', run.model_id],
    [isSimulated(run) ? 'policy' : 'label', run.label], ['load', rateWords(run)],
    [
      'requests',
      num(run.num_prompts) === null ? '' : `${count(run.num_prompts)} in ${figure(run.duration)} s`
    ],
    ['workload', baton.workload, true],
    ['prompt lengths from', isSimulated(run) ? '' : promptWords(baton), true],
    ['date', dateWords(run.date)], ['version', baton.version ? `baton ${baton.version}` : ''],
    ['seed', baton.seed], ['command', baton.command ? el('code', {}, baton.command) : '', true]
  ]);
}

function verdict(run) {
  if (isSimulated(run)) return simulatedNote();
  const baton = object(run.baton);
  const reasons = array(baton.unsound_reasons).map(text);
  const sound = baton.sound !== false, partial = baton.partial === true;
  const lines = [];
  if (baton.sound === undefined) {
    lines.push([el('b', {}, 'Not judged.'), ' The result does not say how the generator did.']);
  } else if (sound) {
    const lag = object(object(baton.generator).send_lag_ms);
    lines.push([
      el('b', {}, 'Sound.'), ' The generator was not the bottleneck',
      num(lag.p99) === null ?
          '.' :
          `: requests left ${ms(lag.p50)} late at the median, ${ms(lag.p99)} at p99.`
    ]);
  } else {
    lines.push([
      el('b', {}, 'UNSOUND.'), ' Do not rely on these figures',
      reasons.length === 1 ? `: ${reasons[0]}` : '.'
    ]);
  }
  const list =
      !sound && reasons.length > 1 ? el('ul', {}, reasons.map((r) => el('li', {}, r))) : null;
  if (partial) {
    lines.push([
      el('b', {}, 'Partial.'),
      ' The run was stopped before its end; this is what had been measured.'
    ]);
  }
  const bad = !sound || partial || baton.sound === undefined;
  return el(
      'div', {class: bad ? 'verdict bad' : 'verdict', role: 'status'}, el('p', {}, lines[0]), list,
      lines[1] ? el('p', {}, lines[1]) : null);
}

function tile(name, value, unit, ...under) {
  return el(
      'div', {class: 'tile'}, el('div', {class: 'name'}, name),
      el('div', {class: 'big'}, value, unit ? el('small', {}, unit) : null),
      under.filter((u) => text(u) !== '').map((u) => el('div', {class: 'under'}, u)));
}
function tiles(run) {
  const baton = object(run.baton), goodput = object(baton.goodput);
  const intervals = object(baton.intervals);
  const shown = Object.keys(METRICS).map((m) => {
    const [value, unit] = milliseconds(latency(run, `median_${m}_ms`));
    const span = object(intervals[`median_${m}_ms`]);
    const p99 = latency(run, `p99_${m}_ms`);
    return tile(
        `${METRICS[m][0]} median`, value, unit,
        p99 === null ? (value === '–' ? 'no request gave one' : '') : `p99 ${ms(p99)}`,
        num(span.low) === null ? '' : `95 %: ${figure(span.low)}–${figure(span.high)}`);
  });
  const bounds = sloWords(object(goodput.slo));
  const left = num(object(baton.outcomes).left) || 0;  // on purpose, as the workload asked
  const offered = num(goodput.offered) ?? (num(run.num_prompts) || 0) - left;
  if (bounds && num(goodput.share) !== null) {
    shown.push(tile(
        'Goodput over offered', percent(goodput.share), '',
        `${count(goodput.good)} of ${count(offered)}, ${figure(goodput.requests_per_s)}/s`));
  } else {
    shown.push(tile(
        'Completed over offered', percent(offered ? (num(run.completed) || 0) / offered : null), '',
        `${count(run.completed)} of ${count(offered)}`, 'no SLO was given'));
  }
  shown.push(tile(
      'Output', figure(run.output_throughput), 'tokens/s',
      `${figure(run.request_throughput)} requests/s`));
  return el('div', {class: 'tiles'}, shown);
}

function cdfSection(run) {
  const cdf = object(object(run.baton).cdf), slo = sloOf(run);
  if (!hasLatencies(run) && !nums(cdf.ttft).length) {
    return section(
        'Latency distributions',
        nothing('No request completed, so there are no latencies to show.'));
  }
  const curves = (m) =>
      [{name: m === 'ttft' ? 'from the send' : METRICS[m][0], color: 'blue', cdf: cdf[m]},
       ...(m === 'ttft' && nums(cdf.ttft_from_schedule).length > 1 ? [{
         name: 'from the schedule',
         color: 'orange',
         cdf: cdf.ttft_from_schedule,
         dash: '6 3'
       }] :
                                                                     [])];
  return section(
      'Latency distributions',
      el('div', {class: 'pair'},
         Object.keys(METRICS).map((m) => cdfPlot(m, curves(m), num(slo[`${m}_ms`])))));
}

function timelineSection(run) {
  const steady = object(object(run.baton).steady);
  const measured = num(steady.from_s) !== null && num(steady.to_s) > steady.from_s ?
      {from: steady.from_s, to: steady.to_s} :
      null;
  return section('Over time', timelinePlot(object(run.baton).timeline, measured));
}

function splitSection(run) {
  const split = object(object(run.baton).split);
  if (!run.baton || !run.baton.split) return [];
  const stages = object(split.stages_ms), kv = object(split.kv_bytes);
  const cached = object(split.cached_tokens),
        waited = object(object(split.concurrent_ms).decode_queue);
  const known = STAGES.filter(([key]) => stages[key]);
  const transports = Object.entries(object(split.transports)).map(([n, c]) => `${n} ${count(c)}`);
  const values =
      el('div', {}, el('h3', {}, `Of ${count(split.requests)} requests`),
         table(
             ['stage', 'mean', 'median', 'p90', 'p99'],
             known.map(
                 ([key, words, color]) =>
                     [el('td', {}, el('span', {class: `swatch c-${color}`}, words)),
                      ...['mean', 'median', 'p90', 'p99'].map((s) => ms(object(stages[key])[s]))]),
             {numeric: [1, 2, 3, 4]}));
  const moved =
      el('div', {}, el('h3', {}, 'KV cache'),
         facts(
             [
               ['KV moved', `${bytes(kv.total)}, ${bytes(kv.mean)} a split request`],
               ['transports', transports.join(', ') || 'none used'],
               ['decode-only requests', count(split.decode_only)],
               [
                 'cached prompt tokens',
                 `${count(cached.total)}, ${percent(cached.share_of_input)} of the input`
               ],
               ['retries', count(split.retries)],
               [
                 'decode queue beside prefill',
                 num(waited.mean) === null ?
                     '' :
                     `mean ${ms(waited.mean)}, p99 ${
                         ms(waited.p99)}; on the way only where it outlasts the prefill`
               ]
             ],
             'narrow'));
  const pods = [
    countBars('Prefill pods, requests', split.prefill_pods, 'blue'),
    countBars('Decode pods, requests', split.decode_pods, 'green')
  ].filter(Boolean);
  return section(
      'Where TTFT goes',
      num(split.requests) === 0 || !known.length ? nothing('No answer told its stages.') :
                                                   splitPlot(stages),
      el('div', {class: 'pair'}, values, moved),
      pods.length ? el('div', {class: 'pair'}, pods) : null);
}

function failureSection(run) {
  const baton = object(run.baton), failures = array(baton.failures).map(object);
  const outcomes = Object.entries(object(baton.outcomes)).filter(([, n]) => num(n));
  const missed = object(object(baton.goodput).missed);
  const total = outcomes.reduce((sum, [, n]) => sum + n, 0);
  const content = [];
  if (outcomes.length) {
    content.push(
        el('p', {},
           outcomes
               .map(([name, n]) => `${name.replace(/_/g, ' ')} ${count(n)} (${percent(n / total)})`)
               .join(', '),
           '.'));
  }
  if (failures.length) {
    content.push(table(
        ['outcome', 'reason', 'status', 'count', 'first at'],
        failures.map(
            (f) =>
                [textCell(text(f.outcome).replace(/_/g, ' ')), textCell(text(f.reason) || '–'),
                 num(f.status) ? String(f.status) : '–', count(f.count),
                 num(f.first_at_s) === null ? '–' : `${figure(f.first_at_s)} s`]),
        {numeric: [2, 3, 4]}));
  } else {
    const failed = num(run.failed) || 0;
    content.push(
        failed ? nothing(`${count(failed)} requests failed; the result does not say why.`) :
                 el('p', {class: 'note'}, 'No request failed.'));
  }
  const kinds = Object.entries(missed).filter(([, n]) => num(n));
  if (sloWords(sloOf(run)) && kinds.length) {
    content.push(el(
        'p', {class: 'note'}, `Not good under the SLO (${sloWords(sloOf(run))}): `,
        kinds.map(([m, n]) => (METRICS[m] ? `${count(n)} by ${METRICS[m][0]}` : `${count(n)} ${m}`))
            .join(', '),
        '. One request may miss several bounds.'));
  }
  return section('What failed, and why', content);
}

function statistics(run) {
  const percentiles = [...new Set(Object.keys(run)
                                      .map((k) => /^p([\d.]+)_(ttft|tpot|itl|e2el)_ms$/.exec(k))
                                      .filter(Boolean)
                                      .map((m) => m[1]))]
                          .filter((p) => p !== '50')
                          .sort((a, b) => a - b);
  return [
    ['mean', 'mean'], ['median', 'median'], ['std', 'std'],
    ...percentiles.map((p) => [`p${p}`, `p${p}`])
  ];
}

const TOTALS = [
  ['duration', 's'], ['completed', ''], ['failed', ''], ['request_throughput', '/s'],
  ['request_goodput', '/s'], ['output_throughput', 'tokens/s'],
  ['total_token_throughput', 'tokens/s'], ['max_output_tokens_per_s', 'tokens/s'],
  ['max_concurrent_requests', ''], ['total_input_tokens', ''], ['total_output_tokens', '']
];

function figureSection(run) {
  const baton = object(run.baton), definitions = object(baton.definitions);
  const stats = statistics(run), schedule = object(baton.from_schedule);
  const rows = Object.keys(METRICS).map(
      (m) =>
          [textCell(`${METRICS[m][0]}, ms`, 'name'),
           ...stats.map(([s]) => figure(latency(run, `${s}_${m}_ms`))),
           textCell(text(definitions[m]), 'definition')]);
  for (const m of ['ttft', 'e2el']) {
    const values = object(schedule[m]);
    if (Object.keys(values).length && hasLatencies(run)) {
      rows.push([
        textCell(`${METRICS[m][0]} from schedule, ms`, 'name'),
        ...stats.map(([s]) => figure(values[s])),
        textCell(
            text(definitions[`${m}_from_schedule`]) ||
                'from when it was due, not from when it was sent',
            'definition')
      ]);
    }
  }
  const totals = TOTALS.filter(([key]) => num(run[key]) !== null)
                     .map(
                         ([key, unit]) =>
                             [textCell(el('code', {}, key), 'name'),
                              `${figure(run[key])}${unit ? ` ${unit}` : ''}`,
                              textCell(text(definitions[key]), 'definition')]);
  const steady = object(baton.steady);
  if (num(steady.from_s) !== null) {
    totals.push([
      textCell('steady window', 'name'), `${figure(steady.from_s)} to ${figure(steady.to_s)} s`,
      textCell(
          `${figure(steady.request_throughput)} requests/s, ${
              figure(steady.output_throughput)} output tokens/s`,
          'definition')
    ]);
  }
  return section(
      'All figures',
      table(
          ['', ...stats.map(([, name]) => name), ''], rows, {numeric: stats.map((_, i) => i + 1)}),
      totals.length ? table(['', '', ''], totals, {numeric: [1]}) : null, groupTables(baton),
      repeatTables(baton), generatorFacts(run));
}

function groupTables(baton) {
  return [['by_model', 'model'], ['by_priority', 'priority']].map(([key, name]) => {
    const groups = array(baton[key]).map(object);
    return groups.length < 2 ?
        null :
        table(
            [name, 'offered', 'completed', 'median TTFT', 'median TPOT'],
            groups.map(
                (g) =>
                    [textCell(text(g[name])), count(g.offered), count(g.completed),
                     ms(g.median_ttft_ms), ms(g.median_tpot_ms)]),
            {numeric: [1, 2, 3, 4]});
  });
}

function repeatTables(baton) {
  const intervals = Object.entries(object(baton.intervals)),
        repeats = array(baton.repeats).map(object);
  const keys =
      [...new Set(repeats.flatMap((r) => Object.keys(r).filter((k) => num(r[k]) !== null)))];
  return [
    intervals.length ?
        [
          el('h3', {style: 'margin-top:22px'}, 'Means over the repeats, with 95 % intervals'),
          table(
              ['', 'mean', 'low', 'high', 'repeats'],
              intervals.map(
                  ([key, v]) =>
                      [textCell(el('code', {}, key), 'name'), figure(object(v).mean),
                       figure(object(v).low), figure(object(v).high), count(object(v).repeats)]),
              {numeric: [1, 2, 3, 4]})
        ] :
        null,
    repeats.length > 1 && keys.length ?
        table(
            ['repeat', ...keys],
            repeats.map((r, i) => [String(i + 1), ...keys.map((k) => figure(r[k]))]),
            {numeric: keys.map((_, i) => i + 1)}) :
        null
  ];
}

function generatorFacts(run) {
  const baton = object(run.baton);
  const generator = object(baton.generator), lag = object(generator.send_lag_ms),
        usage = object(baton.usage);
  if (!baton.generator || isSimulated(run)) return null;
  return el(
      'p', {class: 'note', style: 'margin-top:14px'}, 'The generator: ',
      num(lag.p99) === null ? '' :
                              `send lag mean ${ms(lag.mean)}, p50 ${ms(lag.p50)}, p99 ${
                                  ms(lag.p99)}, longest ${ms(lag.max)}; `,
      `its loop at most ${ms(generator.loop_lag_max_ms)} late; ${
          percent(generator.cpu_share)} of a core. `,
      num(usage.reported) === null ?
          '' :
          `Usage told by the server in ${count(usage.reported)} answers${
              num(usage.repeated) ? `, more than once in ${count(usage.repeated)}` :
                                    ''}; ${figure(usage.tokens_per_event)} tokens an event.`);
}

function runSections(run) {
  return [
    tiles(run), cdfSection(run), timelineSection(run), splitSection(run), podSection(run),
    failureSection(run), figureSection(run)
  ];
}
