// Reads the results and builds the page.

function header(over, title, lead) {
  document.title = `${title} · ${over.split(/[,·]/)[0].trim()}`;
  return el(
      'header', {}, el('div', {class: 'over'}, over), el('h1', {}, title),
      lead ? el('p', {class: 'lead'}, lead) : null);
}

// One run among several, chosen by name; its sections below.
function chooser(runs, chosen) {
  const shown = el('div', {});
  const show = (i) =>
      shown.replaceChildren(...[isSimulated(runs[i].run) ? null : verdict(runs[i].run),
                                runFacts(runs[i].run), runSections(runs[i].run)]
                                .flat(4)
                                .filter(Boolean));
  const select = el('select', {id: 'run'}, runs.map((r, i) => el('option', {value: i}, r.name)));
  select.value = String(chosen);
  select.addEventListener('change', () => show(Number(select.value)));
  show(chosen);
  return [
    ...section('One run of these'),
    el('p', {class: 'choose'},
       el('label',
          {for: 'run'
          },
          'Run: '),
       select),
    shown
  ];
}

function verdictOfAll(runs) {
  if (runs.every((r) => isSimulated(r.run))) return simulatedNote();
  const unsound = runs.filter((r) => !isSound(r.run)),
        partial = runs.filter((r) => object(r.run.baton).partial === true);
  const names = (list) => list.map((r) => r.name).join('; ');
  if (!unsound.length && !partial.length) {
    return el(
        'div', {class: 'verdict', role: 'status'},
        el('p', {}, el('b', {}, 'Sound.'),
           ` The generator was the bottleneck in none of the ${count(runs.length)} runs.`));
  }
  return el(
      'div', {class: 'verdict bad', role: 'status'},
      unsound.length ?
          el('p', {}, el('b', {}, 'UNSOUND'),
             ` in ${count(unsound.length)} of ${count(runs.length)} runs: ${names(unsound)}.`) :
          null,
      partial.length ?
          el('p', {}, el('b', {}, 'Partial'),
             ` in ${count(partial.length)} of ${count(runs.length)} runs: ${names(partial)}.`) :
          null);
}

function runPage(run) {
  const baton = object(run.baton);
  return [
    header(
        [toolOf(run), dateWords(run.date)].filter(Boolean).join(' · '),
        text(run.model_id) || (isSimulated(run) && text(run.label)) || 'One run',
        [text(baton.target) && `on ${baton.target}`, rateWords(run)].filter(Boolean).join(', ')),
    verdict(run), runFacts(run), runSections(run)
  ];
}

function sweepPage(sweep) {
  const points = array(sweep.points).map(object);
  const first = object(points[0]), best = num(object(sweep.best).request_rate);
  const words = sloWords(object(sweep.slo));
  const head = header(
      ['baton bench, sweep', dateWords(first.date)].filter(Boolean).join(' · '),
      text(first.model_id) || 'Sweep', [
        text(object(first.baton).target) && `on ${first.baton.target}`,
        words ? `good is ${words}` : 'no SLO was given'
      ].filter(Boolean).join('; '));
  if (!points.length) return [head, nothing('The sweep has no points.')];
  const runs =
      points.map((run) => ({
                   run,
                   name: num(run.request_rate) === null ? text(run.request_rate) || 'no rate' :
                                                          `${figure(run.request_rate)} requests/s`
                 }));
  const at = points.findIndex((p) => pointRate(p) !== null && pointRate(p) === best);
  return [
    head, verdictOfAll(runs),
    sweep.generator_bound === true ?
        el('p', {class: 'note'}, 'The generator, not the target, set the highest rate.') :
        null,
    el('div', {class: 'tiles'},
       tile(
           'Best goodput', figure(object(sweep.best).request_goodput), 'requests/s',
           best === null ? 'the SLO was kept at no rate' : `at ${figure(best)}/s offered`),
       tile(
           'Knee', figure(object(sweep.knee).request_rate),
           num(object(sweep.knee).request_rate) === null ? '' : 'requests/s',
           num(object(sweep.knee).request_rate) === null ? 'not reached' :
                                                           'beyond it, goodput no longer follows'),
       num(sweep.breaks_at) === null ? null :
                                       tile(
                                           'SLO broken from', figure(sweep.breaks_at), 'requests/s',
                                           'the lowest rate that missed it'),
       tile(
           'Points', count(points.length), '',
           `${figure(smallest(nums(points.map(pointRate))))} to ${
               figure(largest(nums(points.map(pointRate))))} requests/s`)),
    section('Rate against goodput', sweepPlots(sweep, points.slice()), sweepTable(points, best)),
    chooser(runs, Math.max(0, at))
  ];
}

function comparePage(comparison) {
  const sides = array(comparison.sides).map(object).map((s) => ({
                                                          name: text(s.name) || 'unnamed',
                                                          target: text(s.target),
                                                          runs: array(s.runs).map(object)
                                                        }));
  const runs =
      sides.flatMap((s) => s.runs.map((run, i) => ({run, name: `${s.name}, run ${i + 1}`})));
  const first = object(runs[0] && runs[0].run);
  const head = header(
      [`${toolOf(first)}, comparison`, dateWords(first.date)].filter(Boolean).join(' · '),
      sides.map((s) => s.name).join(' against ') || 'Comparison',
      [text(first.model_id), text(object(first.baton).workload)].filter(Boolean).join(', '));
  if (!runs.length) return [head, nothing('The comparison has no runs.')];
  return [
    head, verdictOfAll(runs), section('Ratios', forestPlot(array(comparison.ratios))),
    sideTable(sides), podComparison(sides),
    section(
        'Latency distributions',
        el('p', {class: 'note'},
           'Thick: the mean of each quantile over the runs of a side. Thin: the runs.'),
        comparisonCdfs(sides)),
    chooser(runs, 0)
  ];
}

function saveButton(json, name) {
  const button = el('button', {type: 'button'}, 'Save the result as JSON');
  button.addEventListener('click', () => {
    const url = URL.createObjectURL(new Blob([json], {type: 'application/json'}));
    el('a', {href: url, download: name}).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  return button;
}

function build() {
  const json = document.getElementById('results').textContent;
  const results = object(JSON.parse(json));
  const pages = {sweep: sweepPage, compare: comparePage, parameter_sweep: parameterSweepPage};
  const content = (pages[results.kind] || runPage)(results);
  const version = text(results.baton_version) || text(object(results.baton).version);
  document.getElementById('page').replaceChildren(
      ...[content].flat(5).filter(Boolean),
      el('footer', {},
         el('span', {},
            `${
                version ? `baton ${version}. ` :
                          ''}Plots read out under the pointer, or with the arrow keys.`),
         saveButton(json, `${results.kind || 'run'}.json`)));
}

try {
  build();
} catch (error) {
  document.getElementById('page').replaceChildren(nothing(
      `This result could not be drawn (${error.message}). It is in the page's source, as JSON.`));
}
