/* The page: runs every shipped graph, compares it with PyTorch's answer, and draws the chosen one. */

const KINDS = { float32: Float32Array, float64: Float64Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, int8: Int8Array };
const COLOURS = ["#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#3288bd", "#a6761d", "#b2182b", "#666666"];
const MOST_DRAWN = 300;
const about = JSON.parse(text("about"));
const find = (name) => document.getElementById(name);

function text(name) {
  return document.getElementById(name).textContent;
}

async function unpacked(name) {
  const bytes = Uint8Array.from(atob(text(name)), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

function arrays(block, places) {
  return Object.fromEntries(Object.entries(places).map(([name, [kind, start, bytes]]) => [name, new KINDS[kind](block.slice(start, start + bytes))]));
}

/* Rows of a matrix that predict the same, and the largest difference. */
function compare(wanted, found, width) {
  const rows = width ? wanted.length / width : 0;
  let same = 0, worst = 0;
  for (let r = 0; r < rows; ++r) {
    const one = wanted.subarray(r * width, (r + 1) * width), other = found.subarray(r * width, (r + 1) * width);
    let near = true;
    one.forEach((value, i) => {
      const apart = Number.isFinite(other[i]) ? Math.abs(value - other[i]) : Infinity;
      worst = Math.max(worst, apart);
      near &&= apart <= (about.within?.[i] ?? 0);
      if (apart === Infinity) near = NaN;
    });
    if (about.target === "values" || about.target === "none") same += near === true;
    else if (!Number.isNaN(near)) same += String(predicted(one)) === String(predicted(other));
  }
  return { rows, same, worst };
}

function predicted(row) {
  if (about.target === "labels") return Array.from(row, (value) => Number(value > 0));
  if (row.length === 1) return Number(row[0] > 0);
  return row.indexOf(row.reduce((top, value) => Math.max(top, value), -Infinity));
}

function measured(model, graph) {
  const times = [], end = performance.now() + 20;
  do {
    const start = performance.now();
    let runs = 0;
    do { model.run(graph.inputs); ++runs; } while (performance.now() - start < 4);
    times.push((performance.now() - start) / runs);
  } while (performance.now() < end);
  return times.sort((a, b) => a - b)[times.length >> 1];
}

function clockMoves() {
  const start = performance.now();
  for (let i = 0; i < 1e5; ++i) if (performance.now() !== start) return true;
  return false;
}

function say(words, kind) {
  find("verdict").textContent = words;
  find("verdict").className = `verdict ${kind}`;
}

function cell(row, words, kind = "td") {
  const made = document.createElement(kind);
  made.textContent = words;
  row.append(made);
  return made;
}

const number = (value) => value.toLocaleString("en");
const digits = (value) => (value === 0 ? "0" : Number(value.toPrecision(3)) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3))));

async function main() {
  const [wasm, block] = await Promise.all([unpacked("wasm"), unpacked("samples")]);
  const model = await load(wasm);
  const graphs = about.graphs.map((graph) => ({ ...graph, inputs: { ...graph.sizes, ...arrays(block, graph.inputs) }, ...arrays(block, graph.more) }));
  let rows = 0, same = 0, worst = 0, seen = 0;
  const problems = [];
  for (const graph of graphs) {
    graph.found = model.run(graph.inputs)[about.main];
    graph.result = compare(graph.expected, graph.found, graph.width);
    worst = Math.max(worst, graph.result.worst);
    if (graph.origin === "data" || graphs.every((each) => each.origin !== "data")) {
      rows += graph.result.rows;
      same += graph.result.same;
      seen += graph.result.rows * graph.agreement; // by chance the export may have seen less in this part of the test split
    }
    if (!(graph.result.worst <= (about.maxError ?? Number.MAX_VALUE))) problems.push(`${graph.name}: an output is ${digits(graph.result.worst)} from PyTorch's`);
    addRow(graph, graphs);
  }
  const agreement = rows ? same / rows : 1;
  if (agreement < Math.min(about.minAgreement, rows ? seen / rows : 0) - 1e-9) problems.push(`${number(rows - same)} of ${number(rows)} predictions differ from PyTorch's`);
  const equal = `${number(same)} of ${number(rows)} predictions equal PyTorch's; largest difference of an output ${digits(worst)}`;
  say(problems.length ? `✗ ${problems[0]}` : `✓ The model holds here: ${equal}.`, problems.length ? "bad" : "good");
  choose(graphs[0], graphs);
  document.documentElement.dataset.state = problems.length ? "differs" : "holds";
  const clock = async () => {
    find("again").disabled = true;
    const moves = clockMoves();
    for (const graph of graphs) {
      await new Promise((done) => setTimeout(done));
      graph.cells.time.textContent = moves ? digits(measured(model, graph)) : "-";
    }
    find("clock").textContent = moves ? "ms: median time of one inference in this browser, one thread." : "The clock of this browser stands still: no times.";
    find("again").disabled = false;
  };
  find("again").addEventListener("click", clock);
  await clock();
}

function addRow(graph, graphs) {
  const row = document.createElement("tr"), head = cell(row, "", "th"), button = document.createElement("button");
  head.scope = "row";
  button.type = "button";
  button.textContent = graph.name;
  button.addEventListener("click", () => choose(graph, graphs));
  head.append(button);
  cell(row, number(graph.nodes));
  cell(row, number(graph.edges));
  const { rows, same, worst } = graph.result;
  cell(row, `${number(same)}/${number(rows)}`).className = same < rows ? "bad" : "";
  cell(row, digits(worst));
  graph.cells = { row, time: cell(row, "…") };
  find("rows").append(row);
}

function choose(graph, graphs) {
  for (const other of graphs) other.cells.row.classList.toggle("chosen", other === graph);
  find("chosen").textContent = graph.name;
  draw(graph);
  answer(graph);
}

/* The nodes of all types in a row, and the edges between them. */
function pictured(graph) {
  const starts = {};
  let nodes = 0;
  for (const size of about.nodeSizes) [starts[size], nodes] = [nodes, nodes + graph.inputs[size]];
  const edges = [];
  for (const { name, from, to } of about.edgeInputs) {
    const list = graph.inputs[name], half = list.length / 2;
    for (let i = 0; i < half; ++i) edges.push([starts[from] + list[i], starts[to] + list[half + i]]);
  }
  return { nodes, edges: edges.filter(([a, b]) => a !== b) };
}

/* The nodes that are drawn: all of a small graph, those around the first node with an edge of a large one. */
function around({ nodes, edges }) {
  if (nodes <= MOST_DRAWN) return Array.from({ length: nodes }, (_, i) => i);
  const near = Array.from({ length: nodes }, () => []);
  for (const [a, b] of edges) near[a].push(b), near[b].push(a);
  const seen = new Set();
  for (let first = 0; first < nodes && seen.size < MOST_DRAWN; ++first) {
    if (seen.has(first) || (seen.size && !near[first].length)) continue;
    const queue = [first];
    for (let i = 0; i < queue.length && seen.size < MOST_DRAWN; ++i) {
      seen.add(queue[i]);
      for (const next of near[queue[i]]) if (!seen.has(next) && queue.length < 4 * MOST_DRAWN) queue.push(next);
    }
  }
  return [...seen];
}

/* Places of nodes: given ones, or by springs along edges and a push between all nodes. */
function places(count, edges, given) {
  if (given) return fitted(given);
  const at = Array.from({ length: count }, (_, i) => {
    const angle = i * 2.399963, far = Math.sqrt(i + 0.5);
    return [far * Math.cos(angle), far * Math.sin(angle)];
  });
  const rounds = count > 150 ? 120 : 250;
  for (let round = 0; round < rounds; ++round) {
    const heat = 1.5 * (1 - round / rounds) + 0.02, move = at.map(() => [0, 0]);
    for (let i = 0; i < count; ++i) {
      for (let j = 0; j < i; ++j) {
        const x = at[i][0] - at[j][0], y = at[i][1] - at[j][1], push = 1.5 / (x * x + y * y + 0.01);
        move[i][0] += x * push; move[i][1] += y * push; move[j][0] -= x * push; move[j][1] -= y * push;
      }
      move[i][0] -= at[i][0] * 0.03; move[i][1] -= at[i][1] * 0.03;
    }
    for (const [a, b] of edges) {
      const x = at[b][0] - at[a][0], y = at[b][1] - at[a][1], pull = Math.hypot(x, y) * 0.12;
      move[a][0] += x * pull; move[a][1] += y * pull; move[b][0] -= x * pull; move[b][1] -= y * pull;
    }
    at.forEach((place, i) => {
      const far = Math.hypot(...move[i]) || 1, step = Math.min(far, heat) / far;
      place[0] += move[i][0] * step; place[1] += move[i][1] * step;
    });
  }
  return fitted(at);
}

function fitted(at) {
  const low = [0, 1].map((k) => Math.min(...at.map((p) => p[k]))), high = [0, 1].map((k) => Math.max(...at.map((p) => p[k])));
  const scale = 90 / Math.max(high[0] - low[0], high[1] - low[1], 1e-9);
  return at.map((p) => [0, 1].map((k) => 50 + (p[k] - (low[k] + high[k]) / 2) * (high[k] - low[k] ? scale : 0)));
}

function draw(graph) {
  const whole = pictured(graph), shown = around(whole), place = new Map(shown.map((node, i) => [node, i]));
  const edges = whole.edges.filter(([a, b]) => place.has(a) && place.has(b)).map(([a, b]) => [place.get(a), place.get(b)]);
  const once = [...new Map(edges.map(([a, b]) => [a < b ? `${a},${b}` : `${b},${a}`, [a, b]])).values()];
  const points = graph.places && shown.map((node) => Array.from(graph.places.subarray(2 * node, 2 * node + 2)));
  const at = places(shown.length, once, points), look = colours(graph, whole), radius = Math.max(0.7, Math.min(2.6, 14 / Math.sqrt(shown.length)));
  const svg = find("graph");
  svg.replaceChildren();
  const add = (kind, values, parent = svg) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };
  for (const [a, b] of once) add("line", { x1: at[a][0].toFixed(2), y1: at[a][1].toFixed(2), x2: at[b][0].toFixed(2), y2: at[b][1].toFixed(2) });
  shown.forEach((node, i) => {
    const dot = add("circle", { cx: at[i][0].toFixed(2), cy: at[i][1].toFixed(2), r: radius.toFixed(2), fill: look.colour(node) });
    if (look.other(node)) dot.classList.add("other");
    add("title", {}, dot).textContent = `node ${node}${look.words(node)}`;
  });
  const caption = find("caption"), part = shown.length < whole.nodes ? `${number(shown.length)} of ${number(whole.nodes)} nodes` : `${number(whole.nodes)} nodes`;
  caption.textContent = `${part}, ${look.said}`;
  for (const [colour, words] of look.legend) {
    const dot = document.createElement("i");
    dot.style.background = colour;
    caption.append(dot, words);
  }
}

/* By predicted class where nodes have one, else by what the features say. */
function colours(graph, whole) {
  const { found, expected, width } = graph, none = () => "", never = () => false;
  const rowOf = (values, node) => values.subarray((node - graph.firstRow) * width, (node - graph.firstRow + 1) * width);
  if (about.kind === "node" && about.target === "classes") {
    const inside = (node) => node >= graph.firstRow && node < graph.firstRow + found.length / width;
    const classes = [...new Set(Array.from({ length: found.length / width }, (_, r) => predicted(found.subarray(r * width, (r + 1) * width))))].sort((a, b) => a - b);
    return {
      said: "by predicted class:",
      colour: (node) => (inside(node) ? COLOURS[predicted(rowOf(found, node)) % COLOURS.length] : "var(--edge)"),
      other: (node) => inside(node) && predicted(rowOf(found, node)) !== predicted(rowOf(expected, node)),
      words: (node) => (inside(node) ? `: class ${predicted(rowOf(found, node))}` : ""),
      legend: classes.slice(0, 10).map((one) => [COLOURS[one % COLOURS.length], String(one)]),
    };
  }
  const x = about.nodeSizes.length === 1 ? info.inputs.find((input) => input.shape[0] === about.nodeSizes[0] && input.type === "float") : undefined;
  if (x === undefined) return { said: "", colour: () => COLOURS[6], other: never, words: none, legend: [] };
  const values = graph.inputs[x.name], wide = values.length / Math.max(whole.nodes, 1);
  const rows = Array.from({ length: whole.nodes }, (_, i) => values.subarray(i * wide, (i + 1) * wide));
  if (wide > 1 && rows.every((row) => row.reduce((sum, v) => sum + v, 0) === 1 && row.every((v) => v === 0 || v === 1))) {
    const kinds = [...new Set(rows.map((row) => row.indexOf(1)))].sort((a, b) => a - b);
    return {
      said: `by the column of ${x.name} that is 1:`, other: never,
      colour: (node) => COLOURS[rows[node].indexOf(1) % COLOURS.length], words: (node) => `: column ${rows[node].indexOf(1)}`,
      legend: kinds.slice(0, 10).map((one) => [COLOURS[one % COLOURS.length], String(one)]),
    };
  }
  const first = rows.map((row) => row[0]), [low, high] = first.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const share = (node) => (high > low ? (first[node] - low) / (high - low) : 0.5);
  const shade = (part) => `color-mix(in oklab, var(--accent) ${Math.round(12 + 88 * part)}%, var(--page))`;
  return {
    said: `by the first column of ${x.name}:`, other: never,
    colour: (node) => shade(share(node)), words: (node) => `: ${digits(first[node])}`,
    legend: [[shade(0), digits(low)], [shade(1), digits(high)]],
  };
}

function answer(graph) {
  const box = find("answer"), { found, expected, width, label, mask } = graph, rows = width ? found.length / width : 0;
  box.replaceChildren();
  const note = document.createElement("p");
  note.className = "note";
  if (rows !== 1) {
    let known = 0, right = 0;
    for (let r = 0; label && about.target === "classes" && r < rows; ++r) {
      if (mask && !mask[r]) continue;
      ++known;
      right += predicted(found.subarray(r * width, (r + 1) * width)) === Number(label[r]);
    }
    note.textContent = `${number(rows)} answers${known ? `; ${number(right)} of ${number(known)} are as labelled` : ""}.`;
    box.append(note);
    return;
  }
  const classes = about.target === "classes" && width > 1, top = classes ? predicted(found) : -1;
  const most = Math.max(...found), sum = found.reduce((all, value) => all + Math.exp(value - most), 0);
  const size = Math.max(...Array.from(found, Math.abs), 1e-30), bars = document.createElement("div");
  bars.className = "bars";
  found.forEach((value, i) => {
    const name = document.createElement("span"), bar = document.createElement("span"), shown = document.createElement("span");
    name.textContent = classes ? `class ${i}` : width > 1 ? `output ${i}` : "output";
    bar.className = i === top || !classes ? "bar top" : "bar";
    bar.style.width = `${(100 * (classes ? Math.exp(value - most) / sum : Math.abs(value) / size)).toFixed(1)}%`;
    shown.textContent = classes ? `${((100 * Math.exp(value - most)) / sum).toFixed(1)} %` : digits(value);
    bars.append(name, bar, shown);
  });
  const truth = label?.length ? `; labelled ${Array.from(label, (v) => digits(Number(v))).join(", ")}` : "";
  note.textContent = classes ? `Predicted class ${top}, PyTorch ${predicted(expected)}${truth}.` : `PyTorch: ${Array.from(expected, digits).slice(0, 8).join(", ")}${truth}.`;
  box.append(note, bars);
}

main().catch((error) => {
  say(`✗ ${error.message}`, "bad");
  document.documentElement.dataset.state = "failed";
});
